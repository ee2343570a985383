"""``make soak``: a long run at 70 % of capacity with reloads and rebalances; nothing may grow."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from stream_scorer.local.broker import EmbeddedBroker
from tests.chaos.feed import CycledRecords, Feed
from tests.chaos.latency import LatencyProbe
from tests.chaos.picture import Panel, Span, draw
from tests.chaos.world import BROKER, Setup, World, make_world

SHARE: Final = 0.7
SAMPLE_SECONDS: Final = 5.0
_BACKLOG: Final = 40_000  # while capacity is measured: enough work, without a long tail
_WARM_SHARE: Final = 0.2
_MAX_GROWTH: Final = 0.05
_ENDLESS: Final = 10**12
_RETENTION: Final = {"retention.ms": "120000", "segment.bytes": str(64 * 2**20)}

Point = tuple[float, float]


@dataclass(slots=True)
class Curves:
    """The samples; times in seconds since the start."""

    memory_mib: list[Point] = field(default_factory=list)
    lag: list[Point] = field(default_factory=list)
    p50_ms: list[Point] = field(default_factory=list)
    p99_ms: list[Point] = field(default_factory=list)
    rate: list[Point] = field(default_factory=list)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--capacity-seconds", type=float, default=20.0)
    parser.add_argument("--reload-seconds", type=float, default=60.0)
    parser.add_argument("--rebalance-seconds", type=float, default=120.0)
    parser.add_argument("--protocol", choices=["classic", "consumer"], default="classic")
    parser.add_argument("--out", type=Path, default=Path(".cache/soak"))
    return parser.parse_args(argv)


def measure_capacity(world: World, seconds: float) -> float:
    """Transactions per second that one scorer commits while it has a backlog."""
    samples = world.watch.samples
    feed = Feed(
        world.broker.settings, world.topics.input_topic,
        CycledRecords(world.partitions, _ENDLESS), None,
        gate=lambda: bool(samples) and samples[-1].lag < _BACKLOG,
    )  # fmt: skip
    feed.start()
    try:
        world.pause(seconds * 0.4)  # until it runs at full speed
        first = samples[-1]
        world.pause(seconds * 0.6)
        last = samples[-1]
    finally:
        feed.stop()
    world.wait_until(lambda: samples[-1].lag == 0, 60, "the end of the backlog")
    return (last.committed - first.committed) / (last.at - first.at)


@dataclass(slots=True)
class Soak:
    """One soak run."""

    world: World
    seconds: float
    reload_seconds: float
    rebalance_seconds: float
    say: Callable[[str], None]
    curves: Curves = field(default_factory=Curves)
    spans: list[Span] = field(default_factory=list)

    def run(self, rate: float) -> None:
        """Feed at ``rate``, with reloads, rebalances and samples at their intervals."""
        world = self.world
        records = CycledRecords(world.partitions, _ENDLESS)
        feed = Feed(world.broker.settings, world.topics.input_topic, records, rate)
        probe = LatencyProbe(world.broker.settings, world.topics)
        begun = time.monotonic()
        feed.start()
        probe.start()
        due = {"sample": SAMPLE_SECONDS, "reload": self.reload_seconds,
               "rebalance": self.rebalance_seconds}  # fmt: skip
        try:
            while (now := time.monotonic() - begun) < self.seconds:
                if now >= due["sample"]:
                    due["sample"] += SAMPLE_SECONDS
                    self._sample(begun, now, probe)
                if now >= due["reload"]:
                    due["reload"] += self.reload_seconds
                    version = world.promote()
                    self.say(f"promoted {version}")
                    self._note("reload", now, time.monotonic() - begun)
                if now >= due["rebalance"]:
                    due["rebalance"] += self.rebalance_seconds
                    self._rebalance(now)
                world.pause(0.2)
        finally:
            feed.stop()
            probe.stop()
        world.wait_until(lambda: world.watch.samples[-1].lag == 0, 60, "the end of the backlog")

    def _sample(self, begun: float, now: float, probe: LatencyProbe) -> None:
        world, curves = self.world, self.curves
        latest, before = world.watch.samples[-1], world.watch.samples[-8]
        curves.memory_mib.append((now, resident_mib(world.supervisor.running()[0].process.pid)))
        curves.lag.append((now, float(latest.lag)))
        rate = (latest.committed - before.committed) / (latest.at - before.at)
        curves.rate.append((now, rate))
        window = [ms for at, ms in list(probe.seen) if at - begun > now - SAMPLE_SECONDS]
        if window:
            curves.p50_ms.append((now, float(np.percentile(window, 50))))
            curves.p99_ms.append((now, float(np.percentile(window, 99))))
            self.say(
                f"{now:5.0f} s  {rate:7,.0f}/s  lag {latest.lag:6,}  "
                f"{curves.memory_mib[-1][1]:.0f} MiB  p50 {curves.p50_ms[-1][1]:.0f} ms  "
                f"p99 {curves.p99_ms[-1][1]:.0f} ms"
            )

    def _rebalance(self, now: float) -> None:
        joins = len(self.world.supervisor.running()) == 1
        self.world.supervisor.scale(2 if joins else 1)
        self.say("a second member joins" if joins else "the second member leaves")
        self._note("join" if joins else "leave", now, now + 1)

    def _note(self, name: str, begun: float, ended: float) -> None:
        self.spans.append(Span(name, begun, ended))


def say_progress(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def resident_mib(pid: int) -> float:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has ended")


def early_and_late(curve: Sequence[Point], seconds: float) -> tuple[float, float]:
    """Medians of the first and the last third of the samples after the warm-up."""
    kept = [value for at, value in curve if at > seconds * _WARM_SHARE]
    third = max(1, len(kept) // 3)
    return median(kept[:third]), median(kept[-third:])


def judge(curves: Curves, seconds: float, rate: float) -> dict[str, dict[str, Any]]:
    """Each check with its figures; ``ok`` is its result."""
    memory = early_and_late(curves.memory_mib, seconds)
    lag = early_and_late(curves.lag, seconds)
    p50 = early_and_late(curves.p50_ms, seconds)
    p99 = early_and_late(curves.p99_ms, seconds)
    growth = memory[1] / memory[0] - 1
    return {
        "memory_flat": {"ok": growth < _MAX_GROWTH, "early_mib": round(memory[0], 1),
                        "late_mib": round(memory[1], 1), "growth": round(growth, 4)},
        # Within the records of half a second: each batch in progress counts as lag.
        "lag_steady": {"ok": lag[1] < lag[0] + rate / 2, "early": lag[0], "late": lag[1]},
        "latency_steady": {"ok": p50[1] < 1.5 * p50[0] + 5,
                           "p50_ms": [round(v, 1) for v in p50],
                           "p99_ms": [round(v, 1) for v in p99]},
    }  # fmt: skip


def picture(title: str, soak: Soak) -> str:
    curves = soak.curves
    return draw(
        title,
        soak.spans,
        [
            Panel("Resident memory of the first scorer, MiB", {"": curves.memory_mib}),
            Panel("Transactions without an outcome yet", {"": curves.lag}),
            Panel("Transactions committed a second", {"": curves.rate}),
            Panel("Producer to committed score, median of 5 s, ms", {"": curves.p50_ms}),
            Panel("Producer to committed score, p99 of 5 s, ms", {"": curves.p99_ms}),
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 if nothing grew and the audit found nothing."""
    args = parse(argv)
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    args.out.mkdir(parents=True, exist_ok=True)
    setup = Setup(1, 1, args.protocol, batch_records=2_000, dwell_seconds=0.0)
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        properties = {**BROKER, "log.retention.check.interval.ms": "10000"}
        with (
            EmbeddedBroker(folder / "kafka", properties=properties) as broker,
            make_world(setup, folder, broker) as world,
        ):
            for topic in (world.topics.input_topic, world.topics.output_topic):
                for key, value in _RETENTION.items():
                    world.admin.set_config(topic, key, value)
            world.supervisor.fleet.program = ("-m", "stream_scorer", "run")
            world.supervisor.scale(1)
            world.watch.start()
            world.wait_until(world.supervisor.working, 60, "a scorer at work")
            only = world.supervisor.running()[0].process.pid
            capacity = measure_capacity(world, args.capacity_seconds)
            rate = SHARE * capacity
            say_progress(
                f"capacity {capacity:,.0f} transactions a second; continuing at {rate:,.0f}"
            )
            soak = Soak(
                world, args.minutes * 60, args.reload_seconds, args.rebalance_seconds, say_progress
            )
            soak.run(rate)
            stayed = world.supervisor.running()[0].process.pid == only
            leavers = world.supervisor.stop()
            world.watch.stop()
            code, report = world.verify()
    checks = judge(soak.curves, soak.seconds, rate)
    passed = stayed and code == 0 and all(check["ok"] for check in checks.values())
    found = {
        "minutes": args.minutes, "capacity": round(capacity), "rate": round(rate),
        "reloads": sum(s.name == "reload" for s in soak.spans),
        "rebalances": sum(s.name != "reload" for s in soak.spans),
        "checks": checks, "first_scorer_stayed": stayed, "leavers": leavers,
        "verified": code == 0, "audit": report["faults"], "passed": passed,
    }  # fmt: skip
    title = f"{args.minutes:g} minutes at {rate:,.0f} transactions a second, 70 % of capacity"
    (args.out / "soak.svg").write_text(picture(title, soak))
    (args.out / "soak.json").write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
