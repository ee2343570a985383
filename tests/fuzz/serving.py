"""The dashboard's HTTP surface, fuzzed from its own OpenAPI description with Schemathesis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    encode_score,
    make_app,
    make_score,
    serve,
    tiny_bundle,
)

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
_STREAM: Final = "/api/v1/stream"  # it never ends


@contextmanager
def fuzzed_dashboard(folder: Path) -> Iterator[str]:
    """A dashboard with a model and flagged transactions, without rate limits; its address."""
    topic = MemoryTopic(1)
    for i in range(20):
        source = {"topic": "transactions", "partition": 0, "offset": i}
        topic.append(encode_score(make_score(0.5 + i / 50, source=source)))
    no_limits = {"dashboard_predict_rows_per_second": 0, "dashboard_actions_per_minute": 0}
    app = make_app(folder, topic, StaticModel(tiny_bundle()), **no_limits)  # type: ignore[arg-type]
    with serve(app) as address:
        yield address


def fuzz_http(
    address: str, folder: Path, *, examples: int, seed: int, phases: str, only: Sequence[str] = ()
) -> tuple[int, str]:
    """Exit code (0: no 5xx, only documented statuses, types and bodies) and the report's text.

    Args:
        address: of the dashboard.
        folder: what the fuzzer writes goes here.
        examples: for each operation.
        seed: of the examples.
        phases: Schemathesis' own words, comma separated.
        only: paths; all but the endless stream if empty.
    """
    chosen = [word for path in only for word in ("--include-path", path)]
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json"),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples)),
        *("--seed", str(seed), "--no-color", *(chosen or ("--exclude-path", _STREAM))),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
        check=False,
        env=os.environ | {"NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "ignore"},
    )
    return done.returncode, done.stdout
