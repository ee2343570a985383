"""``python -m tests.bench.programs``: the whole scorer with two feature programs, in turn.

Both models have the same numbers of trees and leaves and were trained on the same rows. The input
topic is the same, and the two take turns, so that a machine that slows down affects both. The last
line of standard output is a JSON object with the ratio of the medians, and of each pair, and the
processor time of the process, on which other work on the machine has less influence.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable

from stream_scorer.cli.run import SWITCH_SECONDS
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.model.bundle import Bundle, Draft, build_files, load_bundle
from stream_scorer.process.collector import spare_what_stays
from tests.bench.contestants import build_world, train_draft


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.programs", description=__doc__)
    parser.add_argument("--first", default="default/1", help="a built-in program")
    parser.add_argument("--second", default=IEEE_CIS, help="the program to compare with")
    parser.add_argument("--rows", type=int, default=60_000, help="records in the input topic")
    parser.add_argument("--trees", type=int, default=800)
    parser.add_argument("--leaves", type=int, default=200)
    parser.add_argument("--batch", type=int, default=2000, help="records in a batch")
    parser.add_argument("--repetitions", type=int, default=7, help="runs of each program")
    args = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)  # as the scorer process does
    with EmbeddedBroker() as broker:
        world = build_world(broker.settings, args.rows, args.trees, args.leaves, args.batch, _say)
        programs = {name: load_builtin(name) for name in (args.first, args.second)}
        bundles: dict[str, Bundle] = {
            name: _load(train_draft(program, args.trees, args.leaves, world.batch))
            for name, program in programs.items()
        }
        runs: dict[str, Callable[[], float]] = {
            name: lambda bundle=bundle: world.score_all(bundle)  # type: ignore[misc]
            for name, bundle in bundles.items()
        }
        rates: dict[str, list[float]] = {name: [] for name in runs}
        used: dict[str, list[float]] = {name: [] for name in runs}
        spare_what_stays()
        for number in range(args.repetitions + 1):
            for name, run in runs.items():
                rate = run()
                if number:  # the first run of each compiles and fills caches
                    rates[name].append(rate)
                    used[name].append(world.processor_microseconds)
                    _say(f"{name:<12} {rate:>9,.0f} rows/s")
    first, second = rates[args.first], rates[args.second]
    report = {
        "rows": args.rows,
        "trees": args.trees,
        "leaves": args.leaves,
        "features": {name: len(program.names) for name, program in programs.items()},
        "rows_per_second": {name: round(statistics.median(r)) for name, r in rates.items()},
        "processor_microseconds_a_row": {
            n: round(statistics.median(u), 2) for n, u in used.items()
        },
        "ratio": round(statistics.median(first) / statistics.median(second), 3),
        "ratio_of_pairs": [round(a / b, 3) for a, b in zip(first, second, strict=True)],
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _load(draft: Draft) -> Bundle:
    model, rest = build_files(draft)
    return load_bundle({"model.pkl": model, **rest("v1")}, "v1")


if __name__ == "__main__":
    sys.exit(main())
