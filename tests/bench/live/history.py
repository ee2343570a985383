"""What card history adds to a transaction and to a restart: ``python -m tests.bench.live.history``.

Runs with and without history take turns, in another order each time, so that a machine that slows
down affects both. Measured are the time of Kafka transactions at full load, the time from producer
to committed score at 500 a second, and the time from ``kill -9`` of the only scorer at full load to
the first score of the next one, which is started at once. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.cli.produce import produce_batches
from stream_scorer.cli.run import SWITCH_SECONDS
from stream_scorer.kafka.clients import open_producer
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.probe import pick_free_port
from stream_scorer.process.collector import spare_what_stays
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.stream.loop import Observer
from stream_scorer.stream.pipeline import Pipeline
from tests.bench.contestants import World, build_world
from tests.bench.service import (
    measure_latency,
    new_topics,
    outcomes_at,
    running,
    scorer_environment,
    with_store,
)

WITH: Final = "with"
WITHOUT: Final = "without"
_AT_WORK_ROWS: Final = 20_000
_FIRST_SCORE_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 0.02


class TxnTimes:
    """Adds up publish and commit of each batch; passes everything on."""

    def __init__(self, observer: Observer) -> None:
        self.heartbeat = observer.heartbeat
        self.committed = observer.committed
        self.aborted = observer.aborted
        self.milliseconds: list[float] = []
        self._published = 0.0

    def timed(self, step: str, seconds: float) -> None:
        """``commit`` follows ``publish`` in the same thread."""
        if step == "publish":
            self._published = seconds
        elif step == "commit":
            self.milliseconds.append((self._published + seconds) * 1e3)


def txn_times(world: World, name: str) -> list[float]:
    """The transactions of one run over the topic."""
    made: list[TxnTimes] = []

    def attach(_: Pipeline, observer: Observer) -> Observer:
        made.append(TxnTimes(observer))
        return made[0]

    world.score_all(world.remembering if name == WITH else world.bundle, attach)
    return made[0].milliseconds


def latencies(world: World, name: str) -> list[float]:
    """From producer to committed score, of one scorer process."""
    world = replace(world, draft=world.past_draft) if name == WITH else world
    with with_store(world) as folder:
        found: list[float] = measure_latency(world, folder)["latency_samples"]
    return found


def in_turn(
    measure: Callable[[World, str], list[float]], world: World, repetitions: int, what: str
) -> dict[str, Any]:
    """Percentiles of both, and the medians of their ratios run by run."""
    runs: dict[str, list[list[float]]] = {WITH: [], WITHOUT: []}
    for number in range(repetitions):
        for name in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):
            runs[name].append(measure(world, name))
            _say(f"  {what} {number + 1} {name}: {percentiles(runs[name][-1])}")
    found: dict[str, Any] = {
        name: percentiles([ms for run in runs[name] for ms in run]) for name in runs
    }
    for share in (50, 99):
        ratios = [
            float(np.percentile(a, share) / np.percentile(b, share))
            for a, b in zip(runs[WITH], runs[WITHOUT], strict=True)
        ]
        found[f"p{share}_ratio"] = round(statistics.median(ratios), 3)
        found[f"p{share}_ratios"] = sorted(round(ratio, 3) for ratio in ratios)
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (50, 99)} | {
        "count": len(values)
    }


def restarts(world: World, name: str, kills: int, rows: int) -> dict[str, Any]:
    """Seconds from each kill to the first committed score of the next process."""
    world = replace(world, draft=world.past_draft) if name == WITH else world
    topics = new_topics(world)
    batches = [world.batch] * -(-rows // len(world.batch))
    produce_batches(open_producer(world.settings), topics.input_topic, batches)
    with with_store(world) as folder, ExitStack() as stack:
        scorers = _Scorers(world, topics, folder, stack)
        child, port = scorers.start()
        _wait_for(port, _AT_WORK_ROWS)
        seconds: list[float] = []
        for number in range(kills):
            child.kill()
            killed = time.perf_counter()
            child, port = scorers.start()
            _wait_for(port, 1)
            seconds.append(round(time.perf_counter() - killed, 1))
            _say(f"  kill {number + 1} {name}: {seconds[-1]} s to the first score")
            _wait_for(port, _AT_WORK_ROWS)
    return {"median": statistics.median(seconds), "seconds": sorted(seconds)}


class _Scorers:
    """Scorers of one group, with the default timeouts."""

    def __init__(self, world: World, topics: TopicSettings, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        more = {"MODEL_GUARD": "false", "MODEL_CACHE_DIR": str(folder / "cache")}
        self._environment = scorer_environment(world, folder, topics, **more)
        self._environment["HISTORY_CACHE_DIR"] = str(folder / "histories")

    def start(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start one; its process and port."""
        port = pick_free_port()
        environment = self._environment | {"METRICS_PORT": str(port)}
        log = self._folder / "scorers.log"
        return self._stack.enter_context(running("stream_scorer", ["run"], environment, log)), port


def _wait_for(port: int, outcomes: int) -> None:
    deadline = time.perf_counter() + _FIRST_SCORE_SECONDS
    while outcomes_at(port) < outcomes:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"fewer than {outcomes} outcomes in {_FIRST_SCORE_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.live.history", description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000, help="in the topic of a run")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=63)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--kill-rows", type=int, default=400_000, help="in the topic of the kills")
    args = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)  # as the scorer process does
    report: dict[str, Any] = {}
    with EmbeddedBroker() as broker:
        world = build_world(broker.settings, args.rows, args.trees, args.leaves, 2000, _say)
        spare_what_stays()
        repetitions = args.repetitions
        report["transaction_ms"] = in_turn(txn_times, world, repetitions, "transactions")
        report["latency_ms_at_500_a_second"] = in_turn(latencies, world, repetitions, "latency")
        report["kill_to_first_score_seconds"] = {
            name: restarts(world, name, args.kills, args.kill_rows) for name in (WITHOUT, WITH)
        }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
