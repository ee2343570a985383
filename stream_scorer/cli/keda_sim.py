"""``stream-scorer keda-sim``: simulates how KEDA and the HPA scale under a load."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from stream_scorer.autoscaling.manifest import Autoscaler
from stream_scorer.autoscaling.manifest_file import load_scaled_object
from stream_scorer.autoscaling.picture import Curve, Panel, draw
from stream_scorer.autoscaling.simulation import TICK_SECONDS, SimulationOptions, Step, simulate
from stream_scorer.autoscaling.summary import Summary, summarize
from stream_scorer.autoscaling.trace import Trace, open_trace
from stream_scorer.cli.console import aligned, note, say, say_json
from stream_scorer.errors import UsageError


def run_keda_sim(args: argparse.Namespace) -> int:
    """``keda-sim``: run the simulation and print its results."""
    autoscaler = load_scaled_object(args.manifest, args.name)
    trace = open_trace(args.trace)
    options = build_options(args)
    ticks = simulate(autoscaler, trace, options)
    summary = summarize(ticks, autoscaler.trigger.lag_threshold)
    if args.picture:
        _write(args.picture, picture(autoscaler, ticks))
    for text in autoscaler.notes:
        note(f"{autoscaler.name}: {text}")
    if args.json:
        say_json({"summary": asdict(summary), "ticks": [asdict(tick) for tick in ticks]})
        return 0
    _print(autoscaler, trace, options, ticks, summary)
    return 0


def build_options(args: argparse.Namespace) -> SimulationOptions:
    """The simulation options from the command line.

    Raises:
        UsageError: a value is not valid.
    """
    if args.hot_share is not None and not 0 < args.hot_share <= 1:
        raise UsageError(f"--hot-share {args.hot_share:g} must be above 0 and at most 1")
    outage = None
    if args.outage:
        begin, _, seconds = args.outage.partition(":")
        try:
            outage = (float(begin), float(begin) + float(seconds))
        except ValueError:
            raise UsageError(f"--outage {args.outage!r} is not BEGIN:SECONDS") from None
    return SimulationOptions(
        args.capacity,
        args.partitions,
        args.pod_start_seconds,
        args.rebalance_seconds,
        args.hot_share,
        args.settle_seconds,
        args.sync_seconds,
        outage=outage,
    )


def picture(autoscaler: Autoscaler, ticks: Sequence[Step]) -> str:
    """Lag, delay and replicas of a simulation, as SVG."""
    low, high = autoscaler.min_replicas, autoscaler.max_replicas
    return draw(
        f"{autoscaler.name}: simulated, {low} to {high} replicas, lagThreshold "
        f"{autoscaler.trigger.lag_threshold:,}",
        [
            Panel(
                "Records per second", [Curve("arriving", [(t.second, t.arrivals) for t in ticks])]
            ),
            Panel("Lag, records", [Curve("lag", [(t.second, t.lag) for t in ticks])]),
            Panel(
                "Age of the oldest waiting record, seconds",
                [Curve("delay", [(t.second, t.delay_seconds) for t in ticks])],
            ),
            Panel(
                "Replicas",
                [
                    Curve("wanted", [(t.second, t.replicas) for t in ticks], is_step=True),
                    Curve("working", [(t.second, t.working) for t in ticks], is_step=True),
                ],
            ),
        ],
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}") from error


def _print(
    autoscaler: Autoscaler,
    trace: Trace,
    options: SimulationOptions,
    ticks: Sequence[Step],
    summary: Summary,
) -> None:
    head = ("second", "records/s", "lag", "delay", "replicas", "working")
    rows = [head, *(_row(tick) for tick in _key_ticks(ticks))]
    for line in aligned(rows, right=range(len(head))):
        say(line)
    say()
    for line in aligned(list(_facts(summary, autoscaler))):
        say(line)
    for text in _advice(autoscaler, trace, options, summary):
        note(text)


def _key_ticks(ticks: Sequence[Step]) -> Iterator[Step]:
    """The first and the last second, every change of replicas, and the peak of the lag."""
    peak = max(ticks, key=lambda tick: tick.lag)
    before = None
    for tick in ticks:
        state = (tick.replicas, tick.working)
        if state != before or tick is peak or tick is ticks[-1]:
            yield tick
        before = state


def _row(tick: Step) -> tuple[str, ...]:
    return (
        f"{tick.second:,.0f}",
        f"{tick.arrivals / TICK_SECONDS:,.0f}",
        f"{tick.lag:,}",
        f"{tick.delay_seconds:,.0f} s",
        str(tick.replicas),
        str(tick.working),
    )


def _facts(summary: Summary, autoscaler: Autoscaler) -> Iterator[tuple[str, str]]:
    threshold = autoscaler.trigger.lag_threshold
    yield "peak lag", f"{summary.peak_lag:,} records"
    yield "longest delay", f"{summary.max_delay_seconds:,.0f} s"
    yield (
        f"lag above {threshold:,} records per pod",
        f"{summary.seconds_above_threshold * TICK_SECONDS:,.0f} s",
    )
    yield "replicas", f"{summary.min_replicas} to {summary.max_replicas}"
    yield "time to peak replicas", _seconds(summary.seconds_to_max_replicas)
    yield "time back to initial replicas", _seconds(summary.seconds_back_to_first_replicas)
    yield "rebalances", str(summary.changes_of_replicas)
    yield "pod-seconds", f"{summary.pod_seconds:,} ({summary.pod_seconds / 3600:,.1f} pod-hours)"
    yield "lag at the end", f"{summary.lag_at_end:,} records"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f} s"


def _advice(
    autoscaler: Autoscaler, trace: Trace, options: SimulationOptions, summary: Summary
) -> Iterator[str]:
    """Warnings about the results."""
    usable = min(autoscaler.max_replicas, options.partitions)
    if autoscaler.max_replicas > options.partitions:
        yield (
            f"maxReplicaCount is {autoscaler.max_replicas}, but {options.partitions} partitions "
            f"can keep only {options.partitions} pods busy"
        )
    sustained = trace.rates[-1]
    if sustained > usable * options.capacity:
        yield (
            f"a sustained {sustained:,.0f} records/s need "
            f"{math.ceil(sustained / options.capacity)} pods; at most {usable} can be busy"
        )
    hot = options.hot_share
    if hot is not None and max(trace.rates) * hot > options.capacity:
        yield (
            f"the hot partition gets up to {max(trace.rates) * hot:,.0f} records/s, but one pod "
            f"processes {options.capacity:,.0f}: more pods do not help"
        )
    if summary.lag_at_end > autoscaler.trigger.lag_threshold * max(1, usable):
        yield "the lag was not cleared by the end: increase --settle-seconds or the capacity"
