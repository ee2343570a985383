"""The fuzzed process: prints one JSON line of figures after each step to standard output."""

from __future__ import annotations

import faulthandler
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.csvs import fuzz_csv
from tests.fuzz.decode import fuzz_decode
from tests.fuzz.features import fuzz_features
from tests.fuzz.files import fuzz_files
from tests.fuzz.histories import fuzz_histories
from tests.fuzz.messages import fuzz_messages
from tests.fuzz.registry import fuzz_registry


def run_child(target: str, count: int, seed: int) -> int:
    """Fuzz one target; returns 1, with the reason on standard error, if a property fails."""
    faulthandler.enable()
    try:
        for figures in _steps(target, count, seed):
            sys.stdout.write(json.dumps(figures | {"rss_mib": rss_mib()}) + "\n")
            sys.stdout.flush()
    except AssertionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _steps(target: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    if target == "decode":
        yield from fuzz_decode(count, seed)
    elif target == "messages":
        yield from fuzz_messages(count, seed)
    elif target == "csv":
        yield from fuzz_csv(count, seed)
    elif target == "files":
        yield from fuzz_files(count, seed)
    elif target == "registry":
        yield from fuzz_registry(count, seed)
    elif target == "features":
        yield from fuzz_features(count, seed)
    elif target == "histories":
        yield from fuzz_histories(count, seed)
    else:
        yield from _http(count, seed)


def _http(count: int, seed: int) -> Iterator[dict[str, Any]]:
    from tests.fuzz.serving import fuzz_http, fuzzed_dashboard

    with tempfile.TemporaryDirectory() as name, fuzzed_dashboard(Path(name)) as address:
        requests = 0
        for phase, examples in (("examples,coverage", 1), ("fuzzing", count)):
            code, said = fuzz_http(address, Path(name), examples=examples, seed=seed, phases=phase)
            assert code == 0, said
            # Warnings of the report have the word too: "Schema validation mismatch: … generated".
            (generated,) = re.findall(r"^\s*([\d,]+) generated", said, re.MULTILINE)
            requests += int(generated.replace(",", ""))
            yield {"phase": phase, "requests": requests}


def rss_mib() -> float:
    """Resident memory of this process; 0 if the system does not report it."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0.0
    return round(int(statm.read_text().split()[1]) * 4096 / 2**20, 1)
