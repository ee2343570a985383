"""A batch of transactions as columns: the output of every decoder, the input of every feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.contracts import (
    EVENT_TIME,
    ID,
    NUMBER_COLUMNS,
    NUMBER_INDEX,
    TEXT_COLUMNS,
    TEXT_INDEX,
    TIME,
)
from schemas.layout import Layout
from schemas.spans import Spans

NO_EVENT_TIME: Final = np.iinfo(np.int64).min
"""Represents a null ``event_time``; no timestamp-millis has this value."""


class HistoryColumns(NamedTuple):
    """Features of the past of each row's card, computed before the batch is scored.

    Attributes:
        fingerprint: the history spec that they belong to.
        values: float64 ``[n, features]``, C order.
    """

    fingerprint: str
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TransactionBatch:
    """``n`` transactions, column by column.

    Attributes:
        ids: ``TransactionID``, int64 ``[n]``.
        times: ``TransactionDT`` in seconds, int64 ``[n]``.
        event_times: epoch milliseconds, int64 ``[n]``; ``NO_EVENT_TIME`` where null.
        numbers: float64 ``[n, len(NUMBER_COLUMNS)]``, C order; NaN where missing.
        text: uint8, the UTF-8 bytes of all strings.
        starts: int64 ``[n, len(TEXT_COLUMNS)]``, first byte of each string in ``text``.
        lengths: int32 ``[n, len(TEXT_COLUMNS)]``, bytes of each string; -1 where missing.
        layout: the number columns that were kept, if not all were; ``numbers`` is then
            ``[n, layout.width]``, and only what knows the layout can read it.
        history: features of the past, where they were computed.
        records: where each record lies in ``text``, if the batch was decoded from records.
    """

    ids: NDArray[np.int64]
    times: NDArray[np.int64]
    event_times: NDArray[np.int64]
    numbers: NDArray[np.float64]
    text: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    layout: Layout | None = None
    history: HistoryColumns | None = None
    records: Spans | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Any) -> TransactionBatch:
        """The rows of an index array, a boolean mask or a slice, in that order."""
        return TransactionBatch(
            np.ascontiguousarray(self.ids[rows]),
            np.ascontiguousarray(self.times[rows]),
            np.ascontiguousarray(self.event_times[rows]),
            np.ascontiguousarray(self.numbers[rows]),
            self.text,
            np.ascontiguousarray(self.starts[rows]),
            np.ascontiguousarray(self.lengths[rows]),
            self.layout,
            self.history
            and self.history._replace(values=np.ascontiguousarray(self.history.values[rows])),
            self.records and Spans(self.records.begin[rows], self.records.size[rows]),
        )

    def with_history(self, history: HistoryColumns | None) -> TransactionBatch:
        """The same rows, with these features of the past.

        Raises:
            ValueError: they are of another number of rows.
        """
        if history is not None and len(history.values) != len(self):
            raise ValueError(f"history of {len(history.values)} rows for {len(self)} transactions")
        return replace(self, history=history)

    def check_complete(self) -> None:
        """Check that every column was kept.

        Raises:
            ValueError: some were not.
        """
        if self.layout is not None:
            raise ValueError("the batch was decoded for a model and lacks columns")

    def string(self, row: int, column: int) -> str | None:
        """One string cell; ``column`` is an index into ``TEXT_COLUMNS``."""
        length = int(self.lengths[row, column])
        if length < 0:
            return None
        start = int(self.starts[row, column])
        return self.text[start : start + length].tobytes().decode("utf-8")

    def row(self, row: int) -> dict[str, Any]:
        """One transaction as the contract's JSON object; missing columns are None.

        Raises:
            ValueError: not every column was kept.
        """
        self.check_complete()
        numbers = self.numbers[row]
        out: dict[str, Any] = {ID: int(self.ids[row]), TIME: int(self.times[row])}
        for name, value in zip(NUMBER_COLUMNS, numbers.tolist(), strict=True):
            out[name] = None if value != value else value
        for i, name in enumerate(TEXT_COLUMNS):
            out[name] = self.string(row, i)
        when = int(self.event_times[row])
        out[EVENT_TIME] = None if when == NO_EVENT_TIME else when
        return out


def empty_batch(n: int = 0) -> TransactionBatch:
    """A batch of ``n`` rows in which every nullable column is missing, and ids and times are 0."""
    return TransactionBatch(
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.full(n, NO_EVENT_TIME, np.int64),
        np.full((n, len(NUMBER_COLUMNS)), np.nan),
        np.empty(0, np.uint8),
        np.zeros((n, len(TEXT_COLUMNS)), np.int64),
        np.full((n, len(TEXT_COLUMNS)), -1, np.int32),
    )


def blank_batch(n: int, layout: Layout | None = None) -> TransactionBatch:
    """A batch of ``n`` uninitialised rows, for a decoder that writes every cell."""
    width = len(NUMBER_COLUMNS) if layout is None else layout.width
    return TransactionBatch(
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty((n, width)),
        np.empty(0, np.uint8),
        np.empty((n, len(TEXT_COLUMNS)), np.int64),
        np.empty((n, len(TEXT_COLUMNS)), np.int32),
        layout,
    )


def read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A read-only view: compiled loops see the same array type whoever created the array."""
    view = array.view()
    view.flags.writeable = False
    return view


def build_batch(rows: Sequence[Mapping[str, Any]]) -> TransactionBatch:
    """A batch from transactions that are known to be valid, given as the contract's objects.

    Absent keys and None mean missing. Values are not checked: use :mod:`schemas.json.codec` for
    untrusted input.
    """
    batch = empty_batch(len(rows))
    text = bytearray()
    for r, row in enumerate(rows):
        batch.ids[r], batch.times[r] = row[ID], row[TIME]
        if (when := row.get(EVENT_TIME)) is not None:
            batch.event_times[r] = when
        for name, value in row.items():
            if value is None:
                continue
            if (column := NUMBER_INDEX.get(name)) is not None:
                batch.numbers[r, column] = value
            elif (column := TEXT_INDEX.get(name)) is not None:
                data = value.encode("utf-8")
                batch.starts[r, column], batch.lengths[r, column] = len(text), len(data)
                text += data
    return with_text(batch, text)


def with_text(batch: TransactionBatch, text: bytes | bytearray) -> TransactionBatch:
    """The same rows, with ``text`` as the bytes of their strings."""
    return TransactionBatch(
        batch.ids,
        batch.times,
        batch.event_times,
        batch.numbers,
        np.frombuffer(bytes(text), np.uint8),
        batch.starts,
        batch.lengths,
        batch.layout,
        batch.history,
        batch.records,
    )


def concatenate(
    batches: Sequence[TransactionBatch], layout: Layout | None = None
) -> TransactionBatch:
    """The rows of several batches of one layout, concatenated.

    Raises:
        ValueError: one of several batches has another layout, or lacks history that another has.
    """
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return blank_batch(0, layout)
    for batch in batches:
        if layout is None:
            batch.check_complete()
        elif batch.layout != layout:
            raise ValueError("the batches have different columns")
    shifts = np.cumsum([0] + [len(b.text) for b in batches[:-1]])
    return TransactionBatch(
        np.concatenate([b.ids for b in batches]),
        np.concatenate([b.times for b in batches]),
        np.concatenate([b.event_times for b in batches]),
        np.concatenate([b.numbers for b in batches]),
        np.concatenate([b.text for b in batches]),
        np.concatenate([b.starts + s for b, s in zip(batches, shifts, strict=True)]),
        np.concatenate([b.lengths for b in batches]),
        layout,
        _join_history([b.history for b in batches]),
    )


def _join_history(parts: Sequence[HistoryColumns | None]) -> HistoryColumns | None:
    found = [part for part in parts if part is not None]
    if not found:
        return None
    if len(found) != len(parts) or len({part.fingerprint for part in found}) > 1:
        raise ValueError("the batches have features of different pasts")
    return HistoryColumns(found[0].fingerprint, np.concatenate([part.values for part in found]))
