"""Compares the simulator's decisions with those of a recorded run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from stream_scorer.autoscaling.manifest import Autoscaler, parse_scaled_object
from stream_scorer.autoscaling.picture import Curve, Panel, draw
from stream_scorer.autoscaling.simulation import SimulationOptions, Step, simulate
from stream_scorer.autoscaling.trace import Trace


def write_run(path: Path, run: Mapping[str, Any]) -> None:
    """Write a recording as JSON, with its samples by column."""
    samples = run["samples"]
    columns = {name: [sample[name] for sample in samples] for name in samples[0]}
    path.write_text(json.dumps({**run, "samples": columns}) + "\n", encoding="utf-8")


def read_run(path: Path) -> dict[str, Any]:
    """Read what :func:`write_run` wrote, with its samples by row."""
    run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    columns = run["samples"]
    rows = zip(*columns.values(), strict=True)
    return {**run, "samples": [dict(zip(columns, row, strict=True)) for row in rows]}


@dataclass(frozen=True, slots=True)
class Steps:
    """The course of the replicas; times in seconds, None: it never happened."""

    sequence: tuple[int, ...]
    most: int
    seconds_to_most: float
    seconds_back: float | None
    peak_lag: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both runs, and the difference of their replicas in each second."""

    recorded: Steps
    simulated: Steps
    mean_difference: float
    seconds_that_differ: int
    seconds: int
    sync_offset_seconds: float
    ticks: list[Step]


def compare(run: Mapping[str, Any]) -> Comparison:
    """Simulate the load and the ScaledObject of a recorded run.

    The phase of the controller's 15 s interval depends on when the controller started, so it is the
    one thing taken from the recording: the whole second that fits best. All else is computed.
    """
    autoscaler = parse_scaled_object(run["scaled_object"])
    sync = run["sync_seconds"]
    offsets = [float(second) for second in range(round(sync))]
    return min(
        (_compare(run, autoscaler, offset) for offset in offsets),
        key=lambda found: found.mean_difference,
    )


def _compare(run: Mapping[str, Any], autoscaler: Autoscaler, offset: float) -> Comparison:
    samples = run["samples"]
    ticks = simulate(autoscaler, _recorded_load(samples), _options(run, offset))
    simulated = [t.replicas for t in ticks]
    recorded = _each_second(samples, len(simulated))
    apart = [abs(a - b) for a, b in zip(recorded, simulated, strict=True)]
    return Comparison(
        _steps(recorded, max(s["lag"] for s in samples)),
        _steps(simulated, max(t.lag for t in ticks)),
        fmean(apart),
        sum(a > 0 for a in apart),
        len(apart),
        offset,
        ticks,
    )


def _recorded_load(samples: Sequence[Mapping[str, Any]]) -> Trace:
    """The recorded load, including stalls: records per second between two samples."""
    ends = [s["second"] for s in samples]
    begins = [0.0, *ends[:-1]]
    rates = [
        s["arrivals"] / (end - begin) for s, begin, end in zip(samples, begins, ends, strict=True)
    ]
    return Trace(tuple(begins), tuple(rates))


def _options(run: Mapping[str, Any], offset: float) -> SimulationOptions:
    plan = run["plan"]
    return SimulationOptions(
        plan["capacity"],
        run["partitions"],
        plan["pod_start_seconds"],
        plan["rebalance_seconds"],
        settle_seconds=1.0,
        sync_seconds=run["sync_seconds"],
        sync_offset_seconds=offset,
        downscale_seconds=run["downscale_seconds"],
        first_replicas=run["samples"][0]["replicas"],
    )


def _each_second(samples: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """Replicas at the end of seconds 1 to ``count``; samples are not exactly on whole seconds."""
    found, place = [], 0
    for second in range(1, count + 1):
        while place + 1 < len(samples) and samples[place + 1]["second"] <= second + 0.5:
            place += 1
        found.append(samples[place]["replicas"])
    return found


def _steps(counts: Sequence[int], peak_lag: int) -> Steps:
    sequence = [counts[0]]
    for count in counts:
        if count != sequence[-1]:
            sequence.append(count)
    most = max(counts)
    higher = [second for second, count in enumerate(counts, 1) if count > counts[0]]
    back = higher[-1] + 1.0 if higher and counts[-1] <= counts[0] else None
    return Steps(tuple(sequence), most, counts.index(most) + 1.0, back, peak_lag)


def picture(run: Mapping[str, Any], comparison: Comparison) -> str:
    """Load, lag and replicas of both runs, as SVG."""
    samples, ticks = run["samples"], comparison.ticks
    return draw(
        run["title"],
        [
            Panel(
                "Records per second",
                [Curve("arriving", [(s["second"], s["arrivals"]) for s in samples])],
            ),
            Panel(
                "Lag, records",
                [
                    Curve("recorded", [(s["second"], s["lag"]) for s in samples]),
                    Curve("simulated", [(t.second, t.lag) for t in ticks]),
                ],
            ),
            Panel(
                "Replicas",
                [
                    Curve("recorded", [(s["second"], s["replicas"]) for s in samples], True),
                    Curve("simulated", [(t.second, t.replicas) for t in ticks], True),
                ],
            ),
        ],
    )
