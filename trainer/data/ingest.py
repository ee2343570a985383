"""Reads all training rows into memory, in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, concatenate
from stream_scorer.errors import UsageError
from trainer.data.source import Advance, TrainingSource


@dataclass(slots=True)
class TrainingRows:
    """Transactions and their labels.

    Chunks are concatenated per part, never all together; ``release`` frees them.
    """

    chunks: list[TransactionBatch]
    labels: NDArray[np.int8]
    times: NDArray[np.int64]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, where: NDArray[np.bool_]) -> Part:
        """The rows selected by a mask, in one batch."""
        pieces, start = [], 0
        for chunk in self.chunks:
            mask = where[start : start + len(chunk)]
            start += len(chunk)
            if mask.all():
                pieces.append(chunk)
            elif mask.any():
                pieces.append(chunk.take(mask))
        return Part(concatenate(pieces), self.labels[where])

    def release(self) -> None:
        """Free the transactions' memory; labels and times are kept."""
        self.chunks.clear()


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows with their labels (int8, 1 is fraud)."""

    batch: TransactionBatch
    labels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.labels)


def ingest(source: TrainingSource, advance: Advance) -> TrainingRows:
    """Read a source to its end.

    Raises:
        UsageError: the label column is missing, or has only one class.
    """
    chunks: list[TransactionBatch] = []
    labels: list[NDArray[np.int8]] = []
    for chunk in source.chunks(advance):
        if chunk.labels is None:
            raise UsageError(
                f"{source.facts()['source']}, line 1: no column isFraud; training needs labels (is "
                "this a test file?)"
            )
        chunks.append(chunk.batch)
        labels.append(chunk.labels)
    rows = TrainingRows(
        chunks,
        np.concatenate(labels),
        np.concatenate([c.times for c in chunks]),
        source.facts(),
    )
    frauds = int(rows.labels.sum())
    if frauds in (0, len(rows)):
        raise UsageError(
            f"{rows.facts['source']}: all {len(rows)} rows have isFraud = {int(frauds > 0)}; "
            "training needs both classes"
        )
    return rows
