"""The golden stream of a version: generated transactions that exercise its history features.

Generated ones meet what a file of real rows seldom has: late and repeated transactions, equal
times, missing parts of keys, expired records, full rings and sets. And they are of nobody, so that
every version can publish them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import AMOUNT, ID, NUMBER_INDEX, TIME
from stream_scorer.features.history.spec import CARD, HistorySpec
from stream_scorer.model.bundled_history import MAX_ROWS

_SEED: Final = 1
_CARDS: Final = (1001, 1002)
_START_DAY: Final = 30
_DAY: Final = 86_400
_FIRST_SECOND: Final = 40 * _DAY + 50_000
_TEXTS: Final = ("gmail.com", "yahoo.com", "a", "", "maker model 8.0 build/é", "z" * 19, "q")
_GAPS: Final = (
    0,
    1,
    59,
    301,
    3_599,
    3_600,
    3_601,
    20_011,
    86_399,
    86_401,
    2 * 86_400 + 17,
    604_801,
)
_AMOUNTS: Final = (25.0, 25.0, 59.95, 117.0, 0.251, 31_937.391)

_LATE: Final = 13
_REPEATED: Final = 21
_WITHOUT_CARD: Final = 29
_WITHOUT_KEY: Final = (33, 34)
_WITHOUT_START: Final = 37
_EXPIRED: Final = 52
"""Rows from here on are later than every time to live."""


def golden_stream(spec: HistorySpec) -> TransactionBatch:
    """``MAX_ROWS`` transactions of a few clients, in order; the same for the same spec."""
    rng = np.random.default_rng(_SEED)
    rows: list[dict[str, Any]] = []
    time = _FIRST_SECOND
    for number in range(MAX_ROWS):
        if number == _EXPIRED:
            time += (max(space.ttl_days for space in spec.spaces) + 1) * _DAY
        time += int(rng.choice(_GAPS[:8] if number % 4 else _GAPS))
        row = _row(spec, rng, number, time)
        if number == _LATE:
            row[TIME] -= 100_000
        elif number == _REPEATED:
            row = dict(rows[-1])
        elif number == _WITHOUT_CARD:
            del row[CARD]
        elif number in _WITHOUT_KEY:
            for column in {c for space in spec.spaces for c in space.key} - {CARD}:
                row.pop(column, None)
        elif number == _WITHOUT_START:
            for space in spec.spaces:
                row.pop(space.start_day or "", None)
        rows.append(row)
    return build_batch(rows)


def _row(spec: HistorySpec, rng: np.random.Generator, number: int, time: int) -> dict[str, Any]:
    """A transaction with a value in most columns that the spec reads."""
    row: dict[str, Any] = {ID: 1 + number, TIME: time}
    in_keys = {column for space in spec.spaces for column in space.key}
    for column in spec.columns:
        is_in_key = column in in_keys
        if not is_in_key and rng.random() < 0.1:
            continue
        if column not in NUMBER_INDEX:
            row[column] = str(rng.choice(_TEXTS[:2] if is_in_key else _TEXTS))
        elif is_in_key:
            row[column] = float(rng.integers(1, 3))
        else:
            # All bits of a double: a rounding that differs anywhere shows.
            row[column] = float(rng.normal(0.0, 10.0) if rng.random() < 0.6 else rng.integers(0, 4))
    row[CARD] = float(rng.choice(_CARDS))
    row[AMOUNT] = float(rng.choice(_AMOUNTS))
    for space in spec.spaces:
        if space.start_day is not None:
            row[space.start_day] = float(time // _DAY - _START_DAY)
    return row
