"""Faults that the other tests and the check sum must find: each is made here, and is found."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.features.history.partition import PartitionHistory
from tests.support.features.history_streams import (
    Row,
    differing,
    every_kind,
    every_row,
    make_rows,
    one_pass,
    passes_in,
)
from tests.support.features.plain_history import PlainHistory

SPEC = every_kind()
ROWS = make_rows(600, 21)


def steps(
    history: PartitionHistory, rows: list[Row], size: int, retries: Callable[[int], str]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """A stream in batches; what ``retries`` says happens to a batch before it is final."""
    batch, out = build_batch(rows), np.empty((len(rows), len(SPEC.names)))
    for number, run in enumerate(passes_in((size,), len(rows))):
        undo = history.step(batch, run, every_row(len(rows)), out)
        if retries(number) == "rollback":
            history.rollback(undo)
        if retries(number) in ("rollback", "twice"):
            undo = history.step(batch, run, every_row(len(rows)), out)
        while history.open_steps:
            history.settle(history._open[0])
    return out


def test_rollback_skipped() -> None:
    whole, expected = one_pass(SPEC, build_batch(ROWS))
    right, wrong = PartitionHistory(SPEC), PartitionHistory(SPEC)
    good = steps(right, ROWS, 50, lambda n: "rollback" if n == 5 else "")
    bad = steps(wrong, ROWS, 50, lambda n: "twice" if n == 5 else "")
    assert differing(SPEC, good, whole) == {}
    assert right.check_sum() == expected.check_sum()
    assert differing(SPEC, bad, whole)["client_count"] > 50
    assert wrong.check_sum() != expected.check_sum()


def test_features_after_the_update() -> None:
    class Leaking(PlainHistory):
        def advance(self, row: Row, *, advances: bool = True) -> list[float]:  # type: ignore[override]
            super().advance(row, advances=advances)
            return super().advance(row, advances=False)

    whole, _ = one_pass(SPEC, build_batch(ROWS))
    leaking = Leaking(SPEC)
    wrong = differing(SPEC, whole, np.array([leaking.advance(row) for row in ROWS]))
    assert wrong["client_count"] > 400
    assert wrong["client_mean_amount"] > 300
    assert wrong["client_P_emaildomain_is_new"] > 50


@pytest.mark.parametrize("column", ["TransactionAmt", "C1", "TransactionID"])
def test_two_rows_of_one_key_in_another_order(column: str) -> None:
    whole, expected = one_pass(SPEC, build_batch(ROWS))
    of_one = [
        i
        for i, row in enumerate(ROWS)
        if row["card1"] == 1000.0 and row["addr1"] == 0.0 and row["D1"] is not None
    ]
    pairs = ((i, j) for i, j in pairwise(of_one) if ROWS[i][column] != ROWS[j][column])
    *_, (a, b) = pairs  # the last: an id is in the state until the next one
    swapped = list(ROWS)
    swapped[a] = {**ROWS[a], column: ROWS[b][column]}
    swapped[b] = {**ROWS[b], column: ROWS[a][column]}
    found, history = one_pass(SPEC, build_batch(swapped))
    assert history.check_sum() != expected.check_sum()
    if column != "TransactionID":
        assert differing(SPEC, found, whole) != {}


def test_state_of_one_batch_later() -> None:
    batch, out = build_batch(ROWS), np.empty((600, len(SPEC.names)))
    whole, expected = one_pass(SPEC, batch)
    first, runs = PartitionHistory(SPEC), passes_in((50,), 600)
    for run in runs[:6]:
        first.settle(first.step(batch, run, every_row(600), out))
    right = first.records()
    first.settle(first.step(batch, runs[6], every_row(600), out))
    sums, wrong = [], []
    for records in (right, first.records()):
        history = PartitionHistory.restore(SPEC, records)
        for run in runs[6:]:
            history.settle(history.step(batch, run, every_row(600), out))
        sums.append(history.check_sum())
        wrong.append(differing(SPEC, out, whole))
    assert sums[0] == expected.check_sum()
    assert sums[1] != expected.check_sum()
    assert wrong[0] == {}
    assert wrong[1]["client_count"] > 50


def test_a_dead_letter_that_advances() -> None:
    batch = build_batch(ROWS)
    advances = every_row(600)
    advances[300] = False
    whole, expected = one_pass(SPEC, batch, advances)
    found, history = one_pass(SPEC, batch)
    assert history.check_sum() != expected.check_sum()
    assert differing(SPEC, found, whole) != {}


def test_one_record_altered() -> None:
    batch, out = build_batch(ROWS), np.empty((600, len(SPEC.names)))
    first = PartitionHistory(SPEC)
    first.settle(first.step(batch, np.arange(400), every_row(600), out))
    records = first.records()
    records.spaces["card"][0, 3] ^= np.uint64(1)
    history = PartitionHistory.restore(SPEC, records)
    assert history.check_sum() != first.check_sum()
    for one in (first, history):
        one.settle(one.step(batch, np.arange(400, 600), every_row(600), out))
    assert history.check_sum() != first.check_sum()  # nor does it heal
