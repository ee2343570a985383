"""``make bench``: one scorer, its upper bounds and its alternatives, measured in one run.

Every repetition runs all contestants in turn, so that a machine that slows down affects all of
them. Ratios are of medians, and the spread is shown.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_scorer.cli.run import SWITCH_SECONDS
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.process.collector import spare_what_stays
from tests.bench.contestants import World, build_world
from tests.bench.explore import explore
from tests.bench.picture import draw
from tests.bench.service import measure_services
from tests.bench.stages import throughput_by_batch, time_by_stage


def main() -> int:
    """Run and print; the last line of standard output is the JSON, which can also go to a file."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model, fewer records")
    parser.add_argument("--rows", type=int, help="records in the input topic")
    parser.add_argument("--trees", type=int, help="trees of the model")
    parser.add_argument("--leaves", type=int, help="leaves of a tree")
    parser.add_argument("--batch", type=int, default=2000, help="records in a batch")
    parser.add_argument("--repetitions", type=int, help="runs of each contestant")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--explore",
        action="store_true",
        help="also vary compression, partitions, reloads, trees, fields",
    )
    parser.add_argument("--picture", type=Path, help="draw the figures into this file (SVG)")
    args = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)  # as the scorer process does
    rows = args.rows or (10_000 if args.quick else 60_000)
    trees = args.trees or (200 if args.quick else 800)
    leaves = args.leaves or (63 if args.quick else 200)
    repetitions = args.repetitions or (3 if args.quick else 5)
    _say(f"{rows:,} records, {trees} trees of {leaves} leaves, batches of up to {args.batch:,}")
    with EmbeddedBroker() as broker:
        world = build_world(broker.settings, rows, trees, leaves, args.batch, _say)
        spare_what_stays()
        figures = _measure(world, repetitions)
        report = _report(world, figures, rows, trees, leaves, args.batch)
        report["stage_microseconds_a_row"] = time_by_stage(world)
        if not args.quick:
            report["rows_by_batch"] = throughput_by_batch(world, _say)
            report |= measure_services(world, _say)
        if args.explore:
            report |= explore(world, _say)
    latency = report.pop("latency_samples", [])
    _table(report)
    if args.picture:
        args.picture.write_text(draw(report, latency), encoding="utf-8")
    text = json.dumps(report)
    if args.json:
        args.json.write_text(text, encoding="utf-8")
    print(text)
    return 0


def _measure(world: World, repetitions: int) -> dict[str, list[float]]:
    contestants: dict[str, Callable[[], float]] = world.contestants()
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(repetitions):
        for name, run in contestants.items():
            began = time.monotonic()
            figures[name].append(run())
            _say(
                f"  {number + 1}/{repetitions} {name:<42} {figures[name][-1]:>12,.0f} rows/s"
                f"   ({time.monotonic() - began:.1f} s)"
            )
    return figures


def _report(
    world: World, figures: dict[str, list[float]], rows: int, trees: int, leaves: int, batch: int
) -> dict[str, Any]:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    whole = medians["whole scorer, exactly once"]
    return {
        "machine": {"processor": _processor(), "python": platform.python_version()},
        "rows": rows,
        "model": {"trees": trees, "leaves": leaves},
        "batch": batch,
        "repetitions": min(map(len, figures.values())),
        "flagged_share": world.flagged_share,
        "rows_a_second": {
            name: {
                "median": round(medians[name]),
                "min": round(min(values)),
                "max": round(max(values)),
                "whole_scorer_over_it": round(whole / medians[name], 3),
            }
            for name, values in figures.items()
        },
    }


def _table(report: dict[str, Any]) -> None:
    print(f"\n{'rows a second':<44}{'median':>12}{'min':>12}{'max':>12}{'scorer ÷ it':>14}")
    for name, row in report["rows_a_second"].items():
        print(
            f"{name:<44}{row['median']:>12,}{row['min']:>12,}{row['max']:>12,}"
            f"{row['whole_scorer_over_it']:>14.2f}"
        )
    for name, value in report.items():
        if name not in ("machine", "rows", "model", "batch", "flagged_share", "rows_a_second"):
            print(f"{name}: {json.dumps(value)}")
    print(f"flagged: {report['flagged_share']:.1%}; {report['machine']['processor']}\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} of {names[0]}" if names else platform.machine()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
