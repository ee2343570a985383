"""Batches: rows in, rows out, taken and joined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import NO_EVENT_TIME, build_batch, concatenate, empty_batch
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX, TRANSACTION_COLUMNS
from tests.support.factories import make_batch, make_transaction, make_transactions
from tests.support.wire import FAST, same, transactions


def expected(row: dict[str, Any]) -> dict[str, Any]:
    cells = {name: row.get(name) for name in TRANSACTION_COLUMNS}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in cells.items()}


@FAST
@given(st.lists(transactions(), max_size=4))
def test_rows_come_back_as_they_went_in(rows: list[dict[str, Any]]) -> None:
    batch = build_batch(rows)
    assert len(batch) == len(rows)
    assert [batch.row(i) for i in range(len(rows))] == [expected(row) for row in rows]


def test_absent_none_nan_and_empty_string() -> None:
    batch = build_batch([make_transaction(card1=None, card2=math.nan, card4="", card6=None)])
    row = batch.row(0)
    assert (row["card1"], row["card2"], row["card3"]) == (None, None, None)
    assert (row["card4"], row["card6"]) == ("", None)
    assert batch.event_times.tolist() == [NO_EVENT_TIME]
    assert batch.lengths[0, TEXT_INDEX["card4"]] == 0
    assert np.isnan(batch.numbers[0, NUMBER_INDEX["card2"]])


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (np.array([3, 0, 3]), [4, 1, 4]),
        (np.array([True, False, True, False, False]), [1, 3]),
        (slice(1, 3), [2, 3]),
        (slice(None, None, 2), [1, 3, 5]),
        (np.array([], np.int64), []),
    ],
)
def test_take_gives_the_rows_asked_for_in_that_order(rows: Any, ids: list[int]) -> None:
    batch = make_batch(5)
    taken = batch.take(rows)
    assert taken.ids.tolist() == ids
    assert [taken.row(i) for i in range(len(taken))] == [batch.row(i - 1) for i in ids]
    assert taken.numbers.flags.c_contiguous
    assert taken.ids.flags.c_contiguous


def test_concatenate_shifts_the_strings_of_later_batches() -> None:
    rows = make_transactions(7)
    parts = [build_batch(rows[:2]), empty_batch(), build_batch(rows[2:3]), build_batch(rows[3:])]
    joined = concatenate(parts)
    assert same(joined, build_batch(rows))
    assert [joined.row(i) for i in range(7)] == [expected(row) for row in rows]


def test_concatenate_after_take_keeps_strings() -> None:
    batch = make_batch(6)
    halves = [batch.take(slice(3, 6)), batch.take(slice(0, 3))]
    assert same(concatenate(halves), batch.take(np.array([3, 4, 5, 0, 1, 2])))


def test_concatenate_of_nothing_and_of_one() -> None:
    batch = make_batch(2)
    assert len(concatenate([])) == 0
    assert concatenate([batch]) is batch


def test_empty_batch_is_all_missing() -> None:
    row = empty_batch(1).row(0)
    assert row.pop("TransactionID") == row.pop("TransactionDT") == 0
    assert set(row.values()) == {None}
