"""Writes the rows of a replay to a file, which appears only when it is complete."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import AMOUNT, NUMBER_INDEX
from schemas.layout import number_cells
from stream_scorer.errors import UsageError
from stream_scorer.labels.labels import FRAUD, LEGITIMATE, UNSURE
from stream_scorer.replay.columns import DECISIONS, Scored
from stream_scorer.runtime.text import printable

CSV: Final = ".csv"
PARQUET: Final = ".parquet"

_LABELS: Final = {FRAUD: "FRAUD", LEGITIMATE: "LEGITIMATE", UNSURE: "UNSURE"}

Column = list[int] | list[float | None] | list[str | None]


class RowWriter(Protocol):
    """Takes rows, column by column."""

    def write(self, columns: dict[str, Column]) -> None:
        """Add rows; the columns are the same in each call.

        Raises:
            OSError: the file cannot be written.
        """
        ...


def make_columns(
    partition: int,
    offsets: NDArray[np.int64],
    batch: TransactionBatch,
    now: Scored,
    before: Scored,
    label: tuple[NDArray[np.bool_], NDArray[np.int8]] | None,
) -> dict[str, Column]:
    """The columns of inputs of one partition; ``label`` is left out if there are no labels."""
    columns: dict[str, Column] = {
        "partition": [partition] * len(offsets),
        "offset": offsets.tolist(),
        "transaction_id": batch.ids.tolist(),
        "transaction_dt": batch.times.tolist(),
        "score": _numbers(now.scores),
        "decision": _decisions(now),
        "model_version": _versions(now),
        "before_score": _numbers(before.scores),
        "before_decision": _decisions(before),
        "before_model_version": _versions(before),
        "amount": _column(batch, AMOUNT),
        "card1": [None if card is None else f"{card:.0f}" for card in _column(batch, "card1")],
    }
    if label is not None:
        has_label, values = (column.tolist() for column in label)
        columns["label"] = [
            _LABELS[value] if known else None
            for known, value in zip(has_label, values, strict=True)
        ]
    return columns


@contextmanager
def writing(path: Path | None) -> Iterator[RowWriter | None]:
    """A writer for a file, by its ending; None without a file.

    The rows go to a file beside it, which takes its name at the end, and is deleted on an error.

    Raises:
        UsageError: the file cannot be written, or its format needs a package that is missing.
    """
    if path is None:
        yield None
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _open(path, part) as writer:
            yield writer
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open(path: Path, part: Path) -> Iterator[RowWriter]:
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if path.suffix.lower() == PARQUET:
        writer = _ParquetWriter(part)
        try:
            yield writer
        finally:
            writer.close()
    else:
        with part.open("w", newline="", encoding="utf-8") as file:
            yield _CsvWriter(file)


class _CsvWriter:
    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._has_header = False

    def write(self, columns: dict[str, Column]) -> None:
        """Add rows. Numbers are written so that reading them gives the same bits."""
        if not self._has_header:
            self._writer.writerow(columns)
            self._has_header = True
        self._writer.writerows(zip(*columns.values(), strict=True))


class _ParquetWriter:
    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ModuleNotFoundError as error:
            raise UsageError(
                f"a Parquet file requires {error.name}: pip install 'stream-scorer[trainer]', or "
                "write a .csv file"
            ) from error
        self._arrow, self._parquet = pa, parquet
        self._file = path.open("wb")
        self._writer: Any = None

    def write(self, columns: dict[str, Column]) -> None:
        """Add rows."""
        types = self._types(columns)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._file, types)
        self._writer.write_table(self._arrow.table(columns, schema=types))

    def close(self) -> None:
        """Write the footer."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._file.close()

    def _types(self, columns: dict[str, Column]) -> Any:
        pa = self._arrow
        kinds = dict.fromkeys(("score", "before_score", "amount"), pa.float64())
        wholes = ("partition", "offset", "transaction_id", "transaction_dt")
        kinds |= dict.fromkeys(wholes, pa.int64())
        return pa.schema([(name, kinds.get(name, pa.string())) for name in columns])


def _column(batch: TransactionBatch, name: str) -> list[float | None]:
    """A number column that every layout keeps, because scores state it."""
    (cell,) = number_cells(batch.layout, [NUMBER_INDEX[name]])
    return _numbers(batch.numbers[:, cell])


def _numbers(scores: NDArray[np.float64]) -> list[float | None]:
    return [None if score != score else score for score in scores.tolist()]


def _decisions(scored: Scored) -> list[str | None]:
    return [DECISIONS[code] if code >= 0 else None for code in scored.decisions.tolist()]


def _versions(scored: Scored) -> list[str | None]:
    # The names come with records, and may hold anything.
    names = [*map(printable, scored.names), None]
    return [names[code] for code in scored.versions.tolist()]
