"""Converts Arrow columns to a batch of transactions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.batch import NO_EVENT_TIME, TransactionBatch, empty_batch, with_text
from schemas.contracts import EVENT_TIME, ID, NUMBER_INDEX, TEXT_INDEX, TIME


def to_batch(rows: Any) -> TransactionBatch:
    """A batch from a record batch with the contract's column names; absent columns are missing.

    Ids and times must be present integers.
    """
    batch = empty_batch(len(rows))
    text = _Text()
    for name in rows.schema.names:
        column = rows.column(name)
        if name in NUMBER_INDEX:
            batch.numbers[:, NUMBER_INDEX[name]] = numbers(column)
        elif name in TEXT_INDEX:
            j = TEXT_INDEX[name]
            batch.starts[:, j], batch.lengths[:, j] = text.add(column)
    batch.ids[:] = rows.column(ID).to_numpy(zero_copy_only=False)
    batch.times[:] = rows.column(TIME).to_numpy(zero_copy_only=False)
    if EVENT_TIME in rows.schema.names:
        filled = pc.fill_null(rows.column(EVENT_TIME), NO_EVENT_TIME)
        batch.event_times[:] = filled.to_numpy(zero_copy_only=False)
    return with_text(batch, b"".join(text.parts))


def numbers(column: Any) -> NDArray[np.float64]:
    """A numeric column as doubles; NaN where null."""
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64())
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return values


class _Text:
    """Collects the strings of several columns as one byte string."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._size = 0

    def add(self, column: Any) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Starts and lengths of a column's strings, -1 where null."""
        if column.type != pa.string():
            column = pc.cast(column, pa.string())
        n = len(column)
        _, offset_buffer, value_buffer = column.buffers()
        if n == 0 or value_buffer is None:
            return np.zeros(n, np.int64), np.where(_nulls(column), -1, 0).astype(np.int32)
        offsets = np.frombuffer(offset_buffer, np.int32, n + 1, column.offset * 4)
        first, last = int(offsets[0]), int(offsets[-1])
        starts = offsets[:-1].astype(np.int64) - first + self._size
        lengths = np.where(_nulls(column), -1, np.diff(offsets)).astype(np.int32)
        self.parts.append(value_buffer.slice(first, last - first).to_pybytes())
        self._size += last - first
        return starts, lengths


def _nulls(column: Any) -> NDArray[np.bool_]:
    nulls: NDArray[np.bool_] = pc.is_null(column).to_numpy(zero_copy_only=False)
    return nulls
