"""``fraud-trainer synth``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trainer.commands.console import DONE, Subparsers, finish
from trainer.settings import TrainerSettings


def add_synth(commands: Subparsers) -> None:
    """``fraud-trainer synth``."""
    synth = commands.add_parser("synth", help="write synthetic IEEE-CIS CSVs")
    synth.add_argument(
        "directory", type=Path, metavar="DIR", help="output directory; created if it is missing"
    )
    synth.add_argument(
        "--rows", type=int, default=20_000, help="number of transactions (default 20000)"
    )
    synth.add_argument(
        "--seed", type=int, default=7, help="the same seed gives the same tables (default 7)"
    )
    synth.add_argument(
        "--drift",
        type=int,
        metavar="ROW",
        help="from row ROW on (the first is 0): larger amounts, other products, fewer e-mail "
        "domains, and a pattern of fraud that was never there before",
    )
    finish(synth, _synth)


def _synth(arguments: argparse.Namespace, _: TrainerSettings) -> int:
    from trainer.synth import generate
    from trainer.synth.drift import plant_drift
    from trainer.synth.files import write_csvs

    tables = generate(arguments.rows, arguments.seed)
    if arguments.drift is not None:
        tables = plant_drift(tables, arguments.drift, arguments.seed)
    paths = write_csvs(tables, arguments.directory)
    if arguments.json:
        print(json.dumps({"files": [str(p) for p in paths], "rows": arguments.rows}))
    else:
        for path, table in zip(paths, (tables.transactions, tables.identity), strict=True):
            print(f"{path}: {len(table):,} rows")
    return DONE
