"""Pairs from the file of ``stream-scorer replay --out``, whose rows have both versions' scores."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.errors import UsageError
from stream_scorer.shadow.compare.pairs import Pairs, Side
from stream_scorer.shadow.compare.topics import card_numbers

_ROWS: Final = 20_000
_DECISIONS: Final = {"APPROVE": 0, "REVIEW": 1, "BLOCK": 2}
_NEEDED: Final = (
    "partition", "offset", "transaction_id", "score", "decision", "model_version",
    "before_score", "before_decision", "before_model_version",
)  # fmt: skip


def read_replay(path: Path, champion: str, challenger: str, replayed_at: int) -> Iterator[Pairs]:
    """The rows that both versions have scored.

    Args:
        path: a CSV or Parquet file.
        champion: the version in the ``before_`` columns.
        challenger: the version that was replayed.
        replayed_at: the time of all rows, epoch milliseconds: the file has none.

    Raises:
        UsageError: the file cannot be read, or is not that of a replay.
    """
    try:
        pages = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
        for page in pages:
            kept = [
                row
                for row in page
                if row["model_version"] == challenger and row["before_model_version"] == champion
                and row["decision"] in _DECISIONS and row["before_decision"] in _DECISIONS
            ]  # fmt: skip
            for partition, rows in groupby(kept, lambda row: int(row["partition"])):
                yield _pairs(partition, list(rows), replayed_at)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{path} is not the file of a replay: {error}") from error


def _pairs(partition: int, rows: list[Mapping[str, Any]], at: int) -> Pairs:
    def side(before: str) -> Side:
        transactions = np.array([int(row["transaction_id"]) for row in rows], np.int64)
        keys = [str(card).encode() if (card := row.get("card1")) else None for row in rows]
        amounts = [_number(row.get("amount")) for row in rows]
        return Side(
            np.array([int(row["offset"]) for row in rows], np.int64),
            transactions,
            np.full(len(rows), at, np.int64),
            np.array([float(row[f"{before}score"]) for row in rows]),
            np.array([_DECISIONS[row[f"{before}decision"]] for row in rows], np.int8),
            np.array(amounts),
            card_numbers(keys, transactions),
            np.full(len(rows), np.nan),
        )

    return Pairs(partition, side("before_"), side(""))


def _number(value: Any) -> float:
    return float("nan") if value in (None, "") else float(value)


def _csv(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        _check(path, reader.fieldnames or ())
        while page := list(islice(reader, _ROWS)):
            yield [*page]


def _parquet(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a Parquet file requires {error.name}: pip install 'stream-scorer[trainer]', or use "
            "a .csv file"
        ) from error
    with parquet.ParquetFile(path) as file:
        _check(path, file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS):
            yield batch.to_pylist()


def _check(path: Path, names: Any) -> None:
    if missing := [name for name in _NEEDED if name not in names]:
        raise UsageError(
            f"{path} has no column {', '.join(missing)}: write it with stream-scorer replay "
            "--model vM --against vN --out FILE"
        )
