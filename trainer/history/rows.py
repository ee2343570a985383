"""Card history of all rows: one pass in time order, before they are split.

Every row advances the history of its cards, whatever its label and whatever part it falls into
later: a test row sees the training rows' cards, as a transaction in the stream sees all earlier
ones. No label is read here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.program import Program
from trainer.data.rows import Part, TrainingRows
from trainer.history.seed import Seed, make_seed

BLOCK_ROWS: Final = 20_000
"""Rows of one step. A step keeps a copy of each record that it changes."""

STEP_ROWS: Final = 2_048
"""Rows of a measured step, about the batch of a busy scorer."""

_ROUNDS: Final = 9
"""The fastest counts: other processes can only make a round slower."""

Advance = Callable[[int], None]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class CardHistory:
    """The card history of all labelled rows by one spec.

    Attributes:
        columns: the features of each row from the rows before it.
        facts: counts for the metadata.
        step_us: microseconds of processor time that a row takes in the scorer.
        seed: the histories after the last row; None if they are not to be published.
    """

    columns: HistoryColumns
    facts: dict[str, Any]
    step_us: float
    seed: Seed | None = None


def history_layout(spec: HistorySpec) -> Layout | None:
    """The number columns that a spec reads; None for all."""
    layout = Layout([column for column in spec.columns if column in NUMBER_INDEX])
    return None if layout.is_complete else layout


def compute_history(
    rows: TrainingRows, spec: HistorySpec, advance: Advance, *, has_seed: bool = False
) -> CardHistory:
    """One pass over all rows; ``advance`` is called with the number of rows of each block.

    Rows whose label is not known are among those that advance: the stream has them too. A repeated
    row that :func:`trainer.data.ingest.ingest` dropped is not. ``has_seed`` keeps the histories
    after the last row.

    Raises:
        UsageError: the seed is larger than scorers accept.
    """
    batch, labelled = rows.all_rows(history_layout(spec))
    history = PartitionHistory(spec)
    values = follow(history, batch, advance)
    if labelled is not None:
        values = np.ascontiguousarray(values[labelled])
    return CardHistory(
        HistoryColumns(spec.fingerprint, values),
        _facts(history, batch, len(rows)),
        measure_step(history, batch),
        make_seed(history, batch.times) if has_seed else None,
    )


def follow(
    history: PartitionHistory, batch: TransactionBatch, advance: Advance
) -> NDArray[np.float64]:
    """The features of rows in time order, float64 ``[n, features]``; all of them advance."""
    out = np.empty((len(batch), len(history.spec.names)))
    everything = np.ones(len(batch), np.bool_)
    for start in range(0, len(batch), BLOCK_ROWS):
        block = np.arange(start, min(start + BLOCK_ROWS, len(batch)), dtype=np.int64)
        history.settle(history.step(batch, block, everything, out))
        advance(len(block))
    return out


def measure_step(
    history: PartitionHistory, batch: TransactionBatch, clock: Clock = time.thread_time
) -> float:
    """Microseconds of a row in a step on a full history, which is left as it was."""
    last = batch.take(slice(max(0, len(batch) - STEP_ROWS), None))
    if not len(last):
        return 0.0
    last = replace(last, ids=-1 - last.ids)  # else they would be repeats, which take less time
    rows, everything = np.arange(len(last), dtype=np.int64), np.ones(len(last), np.bool_)
    out = np.empty((len(last), len(history.spec.names)))
    fastest = float("inf")
    for _ in range(_ROUNDS + 1):  # the first one may let the tables grow
        started = clock()
        undo = history.step(last, rows, everything, out)
        fastest = min(fastest, clock() - started)
        history.rollback(undo)
    return fastest / len(last) * 1e6


def with_history(part: Part, program: Program, columns: Mapping[str, HistoryColumns]) -> Part:
    """All rows with the history that a program needs; without one if it needs none.

    ``columns`` are history spec's fingerprint → features of all rows.
    """
    spec = program.history
    history = None if spec is None else columns[spec.fingerprint]
    return Part(part.batch.with_history(history), part.labels)


def _facts(history: PartitionHistory, batch: TransactionBatch, labelled: int) -> dict[str, Any]:
    sizes, figures = history.sizes(), history.figures()
    return {
        "rows": len(batch),
        "rows_without_label": len(batch) - labelled,
        "keys": dict(sizes.keys),
        "bytes_a_key": {space.name: 8 * space.width for space in history.spec.spaces},
        "memory_bytes": sizes.nbytes,
        "repeats": figures.repeats,
        "expired": figures.expired,
    }
