"""Throughput of one CPU: a scorer process with the default model, limited to one CPU."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from tests.autoscaling.scene import open_broker
from tests.bench.contestants import World, build_world
from tests.support.processes import ScorerUnderTest, fleet

_BATCH = 2_000
_LIMIT_SECONDS = 240.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def measure_cpu(rows: int, trees: int, leaves: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Rows per second of wall time and of CPU time, between 10 % and 90 % of the topic.

    A container's limit counts CPU time, which does not depend on other load of the machine.
    """
    with open_broker() as settings, tempfile.TemporaryDirectory() as name:
        world = build_world(settings, rows, trees, leaves, _BATCH, say)
        store = FileStore(Path(name) / "store")
        store.promote(store.publish(*build_files(world.draft)), store.current())
        found = {
            "one_cpu": _measure(world, Path(name), {0}),
            "all_cpus": _measure(world, Path(name), os.sched_getaffinity(0)),
        }
    return {"rows": rows, "trees": trees, "leaves": leaves, **found}


def _measure(world: World, folder: Path, cpus: set[int]) -> dict[str, int]:
    group_id = f"cpu-{time.monotonic_ns()}"
    more = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with fleet(world.settings, world.topics, group_id, folder, **more) as scorers:
        scorer = scorers.start()
        os.sched_setaffinity(scorer.process.pid, cpus)  # threads it starts later inherit it
        began = _wait_for(scorer, world.rows // 10)
        ended = _wait_for(scorer, world.rows * 9 // 10)
    done = ended[2] - began[2]
    return {
        "rows_a_second": round(done / (ended[0] - began[0])),
        "rows_a_cpu_second": round(done / (ended[1] - began[1])),
    }


def _wait_for(scorer: ScorerUnderTest, rows: int) -> tuple[float, float, int]:
    """(clock, CPU seconds, rows) when at least ``rows`` outcomes are first seen."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            done = scorer.sample().outcomes
        except OSError:
            done = 0
        if done >= rows:
            return time.monotonic(), _cpu_seconds(scorer.process.pid), done
        time.sleep(0.05)
    raise RuntimeError(f"the scorer did not get to {rows:,} records: {scorer.log.read_text()}")


def _cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process (proc(5), /proc/pid/stat)."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    fields = after_name.split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
