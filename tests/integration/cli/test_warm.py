"""``stream-scorer warm`` compiles everything that the scorer, ``/predict`` and ``verify`` run."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

WARM_AND_RUN = """
import json, sys
from stream_scorer.cli.warm import warm_all

def compiled_loops():
    return {
        f"{module}.{name}": sorted(map(str, value.signatures))
        for module, content in list(sys.modules.items())
        if module.startswith(("schemas", "stream_scorer"))
        for name, value in vars(content).items()
        if getattr(value, "signatures", None) and hasattr(value, "py_func")
        # The paths fit their own model first, which only the trainer does.
        and value.py_func.__module__ != "stream_scorer.features.operations.loops"
    }

warm_all()
before = compiled_loops()
from tests.support import warm_paths
for path in warm_paths.ALL:
    path()
print(json.dumps({"before": before, "after": compiled_loops()}))
"""


@cache
def loops() -> dict[str, dict[str, list[str]]]:
    """The compiled functions and their argument types, from a process of its own.

    In this process another test may already have compiled what ``warm`` leaves out.
    """
    done = subprocess.run(
        [sys.executable, "-c", WARM_AND_RUN],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Any = json.loads(done.stdout)
    return dict(found)


def test_warm_compiles_whatever_scorer_predict_and_verify_run() -> None:
    before, after = loops()["before"], loops()["after"]
    new = {name: set(kinds) - set(before.get(name, [])) for name, kinds in after.items()}
    assert {name: kinds for name, kinds in new.items() if kinds} == {}


def test_stream_loops_are_compiled_for_one_set_of_argument_types() -> None:
    before = loops()["before"]
    for name in (
        "schemas.avro.kernel.decode_avro",
        "schemas.json.kernel.decode_json",
        "schemas.avro.write_kernel.write_scores",
        "stream_scorer.features.interpreter.kernel.build_features",
        "stream_scorer.features.history.kernel.advance",
        "stream_scorer.features.history.key_kernel.move_clock",
        "stream_scorer.features.history.key_kernel.read_keys",
        "stream_scorer.features.history.table_kernel.finish_step",
        "schemas.scores.kernel.find_sources",
    ):
        assert len(before[name]) == 1, name
