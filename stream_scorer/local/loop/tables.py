"""The synthetic tables of the loop: parts of one stream, and what became known about them later."""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.errors import UsageError

MIN_ROWS: Final = 10_000
"""With fewer, the recent ones are too few to judge drift, or the first ones have too few frauds."""

MOST_ROWS: Final = 100_000
"""With more, a training takes longer than a step of the demo may."""

_STREAM_MINUTES: Final = 30
"""The demo's commands look back an hour, and its other steps take minutes."""

FIRST_LABELS: Final = 12
"""Fewer frauds than an interval needs, so that the first comparison cannot say anything yet."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The number of rows of each part, in the order of time.

    Attributes:
        before: the first version is trained on them; they have no drift.
        recent: streamed first, with drift; the second version is trained on them.
        later: streamed while the second version is challenger.
        last: streamed after its promotion.
    """

    before: int
    recent: int
    later: int
    last: int

    def items(self) -> tuple[tuple[str, int], ...]:
        """Name and rows of each part, in the order of time."""
        return (
            ("before", self.before),
            ("recent", self.recent),
            ("later", self.later),
            ("last", self.last),
        )

    @property
    def streamed(self) -> int:
        """The rows that are sent to the input topic."""
        return self.recent + self.later + self.last


def plan_parts(rows: int, rate: float) -> Parts:
    """Divide a number of rows, of which ``rate`` a second are to be streamed.

    Raises:
        UsageError: there are too few or too many, or they would be streamed for too long.
    """
    if not MIN_ROWS <= rows <= MOST_ROWS:
        raise UsageError(f"--loop needs --transactions from {MIN_ROWS} to {MOST_ROWS}, not {rows}")
    before, recent, later = rows // 2, rows * 3 // 10, rows // 10
    parts = Parts(before, recent, later, rows - before - recent - later)
    minutes = parts.streamed / rate / 60
    if minutes > _STREAM_MINUTES:
        least = math.ceil(parts.streamed / _STREAM_MINUTES / 60)
        raise UsageError(
            f"--rate {rate:g}: {parts.streamed:,} transactions would be streamed for "
            f"{minutes:,.0f} minutes, and --loop looks back an hour; use --rate {least} or more"
        )
    return parts


def split_table(table: Path, parts: Parts) -> None:
    """Write each part beside the table, as ``before.csv``, ``recent.csv`` and so on."""
    with table.open(encoding="utf-8", newline="") as source:
        head = next(source)
        for name, rows in parts.items():
            with table.with_name(f"{name}.csv").open("w", encoding="utf-8", newline="") as target:
                target.write(head)
                target.writelines(itertools.islice(source, rows))


def split_first(table: Path, rows: int) -> tuple[str, str]:
    """Write the first rows of a table and the rest beside it; returns the names of both."""
    with table.open(encoding="utf-8", newline="") as source:
        head, *lines = source
    names = f"{table.stem}-first", f"{table.stem}-rest"
    for name, part in zip(names, (lines[:rows], lines[rows:]), strict=True):
        text = "".join([head, *part])
        table.with_name(f"{name}.csv").write_text(text, encoding="utf-8", newline="")
    return names


def read_truth(table: Path) -> list[tuple[str, bool]]:
    """Transaction and whether it is fraud, of each row."""
    with table.open(encoding="utf-8", newline="") as source:
        return [(row["TransactionID"], row["isFraud"] == "1") for row in csv.DictReader(source)]


def frauds_in_random_order(truth: Sequence[tuple[str, bool]], seed: int) -> list[str]:
    """The fraudulent transactions. Chargebacks come in without any order."""
    frauds = [transaction for transaction, is_fraud in truth if is_fraud]
    random.Random(seed).shuffle(frauds)
    return frauds


def portions(frauds: Sequence[str], first: int = FIRST_LABELS) -> Iterator[tuple[str, ...]]:
    """Portions that double what is known: 12, 12, 24, 48 and so on, until all are."""
    known = 0
    while known < len(frauds):
        end = max(first, 2 * known)
        yield tuple(frauds[known:end])
        known = min(end, len(frauds))


def write_chargebacks(path: Path, frauds: Sequence[str], decided_at: int) -> None:
    """A file for ``stream-scorer labels import``."""
    rows = [(transaction, "FRAUD", decided_at) for transaction in frauds]
    _write(path, ("transaction_id", "label", "decided_at"), rows)


def write_mixed_up(path: Path, truth: Sequence[tuple[str, bool]], seed: int) -> None:
    """Labels for ``fraud-trainer train --labels`` that were assigned to the wrong transactions."""
    labels = [is_fraud for _, is_fraud in truth]
    random.Random(seed).shuffle(labels)
    rows = [
        (transaction, "FRAUD" if label else "LEGITIMATE")
        for (transaction, _), label in zip(truth, labels, strict=True)
    ]
    _write(path, ("transaction_id", "label"), rows)


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(head)
        writer.writerows(rows)
