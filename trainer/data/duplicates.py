"""Transactions that occur more than once in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import ID
from schemas.csv.layout import LABEL
from schemas.errors import UnusableFileError
from trainer.data.rows import gather, pack_text

BLOCK_ROWS: Final = 8192
"""Pairs that are compared at once: two batches of 28 MB."""

_SHOWN: Final = 3  # pairs, in a message
_SHOWN_CHARS: Final = 60


def find_repeats(
    chunks: Sequence[TransactionBatch],
    labels: NDArray[np.int8] | None,
    place: Callable[[int], str],
    source: str,
) -> NDArray[np.bool_]:
    """Which rows repeat an earlier row with the same TransactionID, bool ``[n]``.

    Args:
        chunks: the transactions in the order of the file.
        labels: ``isFraud``, if the file has it.
        place: where a row is in the file, such as ``line 7``.
        source: the file, for messages.

    Raises:
        UnusableFileError: two rows have one id and differ.
    """
    ids = np.concatenate([chunk.ids for chunk in chunks])
    is_repeat = np.zeros(len(ids), np.bool_)
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if not len(again):
        return is_repeat
    # Consecutive rows of one id are compared, so each row is at most once on either side.
    by_row = np.argsort(order[again + 1])
    first, second = order[again][by_row], order[again + 1][by_row]
    differing: list[tuple[int, int]] = []
    count = 0
    for start in range(0, len(second), BLOCK_ROWS):
        pair = first[start : start + BLOCK_ROWS], second[start : start + BLOCK_ROWS]
        differs = _differ(*(_rows(chunks, rows, len(ids)) for rows in pair))
        if labels is not None:
            differs |= labels[pair[0]] != labels[pair[1]]
        count += int(differs.sum())
        rows = np.flatnonzero(differs)[: _SHOWN - len(differing)]
        differing += [(int(pair[0][row]), int(pair[1][row])) for row in rows]
    if differing:
        shown = "; ".join(_describe(chunks, labels, place, *pair) for pair in differing)
        more = f"; and {count - len(differing)} more" if count > len(differing) else ""
        raise UnusableFileError(
            f"{source}: different rows with one TransactionID: {shown}{more}. Keep the row that is "
            "right"
        )
    is_repeat[second] = True
    return is_repeat


def _rows(
    chunks: Sequence[TransactionBatch], rows: NDArray[np.int64], total: int
) -> TransactionBatch:
    places = np.full(total, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return gather(chunks, places, len(rows))


def _differ(left: TransactionBatch, right: TransactionBatch) -> NDArray[np.bool_]:
    """Which rows of two batches differ in any column."""
    same: NDArray[np.bool_] = (left.numbers == right.numbers) | (
        np.isnan(left.numbers) & np.isnan(right.numbers)
    )
    same_texts = (left.lengths == right.lengths).all(axis=1)
    differs: NDArray[np.bool_] = ~same.all(axis=1) | ~same_texts
    differs |= (left.times != right.times) | (left.event_times != right.event_times)
    rows = np.flatnonzero(same_texts)
    lengths = np.maximum(left.lengths[rows], 0).sum(axis=1)
    one, other = pack_text(left, rows)[0], pack_text(right, rows)[0]
    differs[np.repeat(rows, lengths)[one != other]] = True
    return differs


def _describe(
    chunks: Sequence[TransactionBatch],
    labels: NDArray[np.int8] | None,
    place: Callable[[int], str],
    first: int,
    second: int,
) -> str:
    one, other = (_values(chunks, labels, row) for row in (first, second))
    column = next(name for name in one if one[name] != other[name])
    values = f"{_shown(one[column])} and {_shown(other[column])}"
    return f"{one[ID]} in {place(first)} and {place(second)} ({column}: {values})"


def _values(
    chunks: Sequence[TransactionBatch], labels: NDArray[np.int8] | None, row: int
) -> dict[str, Any]:
    at = row
    for chunk in chunks:
        if at < len(chunk):
            break
        at -= len(chunk)
    return chunk.row(at) | ({} if labels is None else {LABEL: int(labels[row])})


def _shown(value: object) -> str:
    return "no value" if value is None else repr(value)[:_SHOWN_CHARS]
