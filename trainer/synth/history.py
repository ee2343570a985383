"""An account's history just before each of its transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.synth.sampling import Bools, Floats, Ints
from trainer.synth.schedule import DAY_SECONDS, ScheduledRows

Number = TypeVar("Number", np.int64, np.float64)

CLIENT_STRIDE: Final = 1 << 36
"""Larger than any difference of two times, so that client and time sort as one number."""


@dataclass(frozen=True, slots=True)
class History:
    """Strictly earlier transactions of the same client, row by row.

    Attributes:
        gap_seconds: seconds since the previous transaction; NaN for the first.
        count: number of earlier transactions; ``in_day``, ``in_week`` and ``in_month`` count those
            in the last 1, 7 and 30 days.
        first_day: day number of the client's first transaction.
    """

    gap_seconds: Floats
    count: Ints
    in_day: Ints
    in_week: Ints
    in_month: Ints
    first_day: Ints
    by_client: Ints
    key: Ints
    first: Ints

    @property
    def velocity(self) -> Floats:
        """The account's recent activity as one number, with mean 0 and deviation 1."""
        raw = np.log1p(self.in_day) * 0.9 + np.log1p(self.in_week) * 0.5
        raw += np.log1p(self.in_month) * 0.3
        standard: Floats = (raw - raw.mean()) / max(float(raw.std()), 1e-9)
        return standard

    def sums(self, amount: Floats) -> tuple[Floats, Floats, Floats]:
        """The account's spending before each row: in total, in the last day, in the last 7 days."""
        ordered = amount[self.by_client]
        running = np.cumsum(ordered)
        until = np.concatenate([[0.0], running])
        starts = (
            self.first,
            np.searchsorted(self.key, self.key - DAY_SECONDS),
            np.searchsorted(self.key, self.key - 7 * DAY_SECONDS),
        )
        past, day, week = (
            _in_place(self.by_client, (running - ordered - until[start]).clip(0))
            for start in starts
        )
        return past, day, week


def trace_history(rows: ScheduledRows) -> History:
    """The history of every row."""
    n = len(rows)
    by_client = np.lexsort((rows.seconds, rows.client))
    client, seconds = rows.client[by_client], rows.seconds[by_client]
    is_first = np.ones(n, bool)
    is_first[1:] = client[1:] != client[:-1]
    position = np.arange(n)
    first = np.maximum.accumulate(np.where(is_first, position, 0))
    key = client * CLIENT_STRIDE + seconds

    def within(days: int) -> Ints:
        return _in_place(by_client, position - np.searchsorted(key, key - days * DAY_SECONDS))

    return History(
        gap_seconds=_in_place(by_client, _gaps(seconds, is_first)),
        count=_in_place(by_client, position - first),
        in_day=within(1),
        in_week=within(7),
        in_month=within(30),
        first_day=_in_place(by_client, seconds[first] // DAY_SECONDS),
        by_client=by_client,
        key=key,
        first=first,
    )


def _gaps(seconds: Ints, is_first: Bools) -> Floats:
    before = np.concatenate([[0], seconds[:-1]])
    return np.where(is_first, np.nan, seconds - before)


def _in_place(by_client: Ints, values: NDArray[Number]) -> NDArray[Number]:
    """Values in client order, reordered to time order."""
    out = np.empty_like(values)
    out[by_client] = values
    return out
