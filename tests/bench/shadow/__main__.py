"""``python -m tests.bench.shadow``: the scorer with a challenger at share 1, at 0.1, and without.

*Yielding* is as in a scorer: the challenger scores only while a processor is free. The others score
what they can, whatever that costs; broker and scorer need all processors of a machine with two.

The runs take turns, in another order each time, so that a machine that slows down affects all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from functools import partial
from typing import Final

from stream_scorer.cli.run import SWITCH_SECONDS
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.process.collector import spare_what_stays
from tests.bench.contestants import WHOLE, build_world, challenger_name
from tests.bench.shadow.runs import SHARES

YIELDING: Final = f"{challenger_name(1.0)}, yielding"


def main() -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shadow", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=63)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)  # as the scorer process does
    names = [WHOLE, *map(challenger_name, SHARES), YIELDING]
    rates: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    scored: dict[str, list[float]] = {name: [] for name in names}
    with EmbeddedBroker() as broker:
        world = build_world(broker.settings, args.rows, args.trees, args.leaves, 2000, _say)
        spare_what_stays()
        contestants = world.contestants()
        contestants[YIELDING] = partial(world.with_challenger, 1.0, is_yielding=True)
        for number in range(args.repetitions):
            for name in names if number % 2 else reversed(names):
                world.shadow_rows = 0
                rates[name].append(contestants[name]())
                processor[name].append(world.processor_microseconds)
                scored[name].append(world.shadow_rows / args.rows)
                _say(
                    f"  {number + 1} {name:<42}{rates[name][-1]:>10,.0f} rows/s, scored in "
                    f"shadow {scored[name][-1]:.0%}, {processor[name][-1]:.0f} µs a row"
                )
    report = {
        name: {
            "rows_a_second": round(statistics.median(rates[name])),
            "ratio": round(
                statistics.median(
                    a / b for a, b in zip(rates[name], rates[WHOLE], strict=True)
                ), 3,
            ),
            "scored_in_shadow": round(statistics.median(scored[name]), 3),
            "processor_microseconds": round(statistics.median(processor[name]), 1),
        }
        for name in names
    }  # fmt: skip
    print(json.dumps(report))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
