"""Writes the synthetic tables as CSV files, with the names of the real files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from stream_scorer.errors import UsageError
from trainer.synth.generate import Synthetic

TRANSACTIONS_FILE: Final = "train_transaction.csv"
IDENTITY_FILE: Final = "train_identity.csv"


def write_csvs(tables: Synthetic, directory: Path) -> tuple[Path, Path]:
    """Write both tables into ``directory`` (created if missing) and return their paths.

    Raises:
        UsageError: the directory cannot be written.
    """
    targets = directory / TRANSACTIONS_FILE, directory / IDENTITY_FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for table, target in zip((tables.transactions, tables.identity), targets, strict=True):
            _write(table, target)
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error.strerror}") from error
    return targets


def _write(table: pd.DataFrame, target: Path) -> None:
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    header = ",".join(table.columns) + "\n"  # Arrow would quote every name; the real files don't
    options = csv.WriteOptions(include_header=False, quoting_style="none")  # no level needs it
    with target.open("wb") as stream:
        stream.write(header.encode())
        csv.write_csv(arrow, stream, options)
