"""The eight rules of what advancing a card's history means, each on a few rows."""

from __future__ import annotations

import ast
import inspect
import math
from decimal import Decimal, localcontext
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.features.history import decay, kernel, key_kernel, table_kernel
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from tests.support.features.history_streams import (
    ALONE,
    DAY,
    HOUR,
    Row,
    every_row,
    features,
    make_spec,
    plain_space,
    same_records,
)

CARD = make_spec(
    plain_space(
        "card",
        ("card1",),
        *ALONE,
        features("count_in", seconds=(HOUR,)),
        features("amount_in", seconds=(HOUR,)),
        features("decayed_count", seconds=(HOUR,)),
        features("decayed_amount", seconds=(HOUR,)),
        features("mean", "C1"),
        features("minus_mean", "C1"),
        features("minus_last", "C1"),
        features("distinct", "P_emaildomain"),
        features("is_new", "P_emaildomain"),
        ring=3,
    )
)
BOTH = make_spec(
    plain_space("client", ("card1", "addr1"), features("count"), start_day="D1"),
    plain_space("card", ("card1",), features("count")),
)


def row(time: int = DAY, amount: float = 10.0, **fields: Any) -> Row:
    """A transaction of card 7; ids follow the times unless they are given."""
    base = {"TransactionID": 1_000_000 + time, "TransactionDT": time, "TransactionAmt": amount}
    return {**base, "card1": 7.0, **fields}


def advance(
    rows: list[Row],
    spec: HistorySpec = CARD,
    advances: list[bool] | None = None,
    history: PartitionHistory | None = None,
) -> tuple[list[dict[str, float]], PartitionHistory]:
    """The features of each row, and the history after them."""
    history = history or PartitionHistory(spec)
    flags = every_row(len(rows)) if advances is None else np.array(advances)
    columns, undo = history.columns(build_batch(rows), np.arange(len(rows)), flags)
    history.settle(undo)
    return [dict(zip(spec.names, values, strict=True)) for values in columns.values.tolist()], (
        history
    )


def test_rule_1_each_row_sees_the_rows_before_it_in_the_order_of_their_offsets() -> None:
    times = [DAY + 900, DAY, DAY + 300]
    found, _ = advance([row(time, amount) for time, amount in zip(times, (1, 2, 4), strict=True)])
    assert [f["card_count"] for f in found] == [0, 1, 2]
    assert [f["card_mean_amount"] for f in found[1:]] == [1.0, 1.5]
    history = PartitionHistory(CARD)
    batch = build_batch([row(time) for time in times])
    out = np.full((3, len(CARD.names)), 7.0)
    history.step(batch, np.array([2, 0]), every_row(3), out)
    assert out[:, 0].tolist() == [1.0, 7.0, 0.0]  # the third came first; the second is elsewhere


def test_rule_2_a_row_does_not_see_itself() -> None:
    (first, second), _ = advance([row(amount=50.0), row(DAY + 5, amount=10.0)])
    assert first["card_count"] == 0
    assert all(math.isnan(value) for name, value in first.items() if name != "card_count")
    assert second["card_mean_amount"] == 50.0
    assert second["card_amount_ratio"] == 0.2
    assert second["card_max_ratio"] == 0.2
    assert second["card_same_amount"] == 0


def test_rule_3_a_late_row_counts_with_its_own_time() -> None:
    rows = [row(DAY + 2 * HOUR, 8.0), row(DAY + HOUR, 4.0), row(DAY + 3 * HOUR, 2.0)]
    (_, late, last), history = advance(rows)
    assert late["card_gap_seconds"] == 0
    assert late["card_age_seconds"] == 0
    assert late["card_count_1h"] == 1
    assert late["card_count_decayed_1h"] == 1.0
    assert last["card_gap_seconds"] == HOUR  # since the largest time so far
    assert last["card_gap_before_seconds"] == HOUR  # since the transaction before the last
    assert last["card_count_1h"] == 1  # two hours lie between it and the late one
    assert last["card_amount_1h"] == 8.0
    assert last["card_amount_decayed_1h"] == 6.0
    assert history.figures().late == 1


def test_rule_3_windows_go_by_distance_so_that_one_absurd_time_is_in_none() -> None:
    rows = [row(DAY + 5 * DAY), row(DAY), row(DAY + 60)]
    (*_, last), _ = advance(rows)
    assert last["card_count_1h"] == 1


@pytest.mark.parametrize("time", [-1, 2**32, 2**62])
def test_rule_3_a_time_outside_the_range_has_no_history_and_does_not_advance(time: int) -> None:
    (_, odd, after), history = advance([row(), row(time, TransactionID=5), row(DAY + 60)])
    assert all(math.isnan(value) for value in odd.values())
    assert after["card_count"] == 1
    assert history.clock == DAY + 60


def test_rule_3_a_time_far_ahead_is_counted_and_ages_nothing_else() -> None:
    ahead = row(2**32 - 1, card1=8.0)
    rows = [row(), ahead, *[row(DAY + 60 * i, TransactionID=i) for i in range(1, 40)]]
    found, history = advance(rows)
    assert found[-1]["card_count"] == 39
    assert history.clock == DAY + HOUR
    assert history.future == 1
    assert history.figures().expired == 0


def test_rule_4_a_dead_letter_gets_features_and_leaves_no_trace() -> None:
    rows = [row(), row(DAY + 60, 99.0), row(DAY + 90)]
    (_, dead, after), history = advance(rows, advances=[True, False, True])
    _, without = advance([rows[0], rows[2]])
    assert dead["card_count"] == 1
    assert after["card_count"] == 1
    assert history.check_sum() == without.check_sum()
    assert same_records(history.records(), without.records())


def test_rule_5_a_redriven_score_is_not_counted_a_second_time() -> None:
    rows = [row(), row(DAY + 60)]
    _, once = advance(rows)
    (again,), history = advance([rows[0]], advances=[False], history=advance(rows)[1])
    assert again["card_count"] == 2
    assert history.check_sum() == once.check_sum()


def test_rule_5_what_the_seed_has_seen_is_not_counted_a_second_time() -> None:
    rows = [row(), row(DAY + 60)]
    seed = advance(rows)[1].records()
    history = PartitionHistory.restore(CARD, seed, as_of=DAY + 60)
    unseen = row(DAY + 60, TransactionID=5)  # of the last second of the seed
    found, history = advance([*rows, unseen, row(DAY + 61)], history=history)
    assert [f["card_count"] for f in found] == [2, 2, 2, 2]
    assert history.check_sum() == advance([*rows, row(DAY + 61)])[1].check_sum()


def test_rule_6_a_repeated_transaction_counts_once() -> None:
    first, other = row(), row(DAY + 60, 99.0)
    found, history = advance([first, first, other, other, first])
    assert [f["card_count"] for f in found] == [0, 1, 1, 2, 2]
    assert history.figures().repeats == 2
    assert found[-1]["card_same_amount"] == 1  # not the last one of its key: it counts again
    assert history.records().spaces["card"][0, 2] == 3


@pytest.mark.parametrize("card", [None, 0.5, 2.0**53 + 2, -(2.0**53) - 2, 1e300])
def test_rule_7_without_a_card_there_is_no_history(card: float | None) -> None:
    found, history = advance([row(card1=card), row(DAY + 5, card1=card)], BOTH)
    assert all(math.isnan(value) for f in found for value in f.values())
    assert history.records().spaces["card"].shape[0] == 0
    assert history.clock == -1


@pytest.mark.parametrize("card", [-7.0, 0.0, 2.0**53, -(2.0**53)])
def test_rule_7_any_whole_number_is_a_card(card: float) -> None:
    found, history = advance([row(card1=card), row(DAY + 5, card1=card)])
    assert [f["card_count"] for f in found] == [0, 1]
    assert history.find(int(card))["card"].shape[0] == 1


def test_rule_7_zero_has_no_sign() -> None:
    found, _ = advance([row(card1=0.0), row(DAY + 5, card1=-0.0)])
    assert found[1]["card_count"] == 1


@pytest.mark.parametrize("days", [None, 2.0**53 + 2, 1e300])
def test_rule_7_without_a_start_day_there_is_no_client(days: float | None) -> None:
    rows = [row(addr1=1.0, D1=days), row(DAY + 5, addr1=1.0, D1=days)]
    found, _ = advance(rows, BOTH)
    assert all(math.isnan(f["client_count"]) for f in found)
    assert [f["card_count"] for f in found] == [0, 1]


def test_rule_7_a_missing_part_of_the_key_is_a_value_of_its_own() -> None:
    rows = [row(D1=1.0), row(DAY + 5, D1=1.0, addr1=0.0), row(DAY + 9, D1=1.0)]
    found, _ = advance(rows, BOTH)
    assert [f["client_count"] for f in found] == [0, 0, 1]


def test_rule_7_the_start_day_is_the_day_of_the_transaction_minus_whole_days() -> None:
    rows = [
        row(10 * DAY, D1=3.0),
        row(11 * DAY - 1, D1=3.9),
        row(11 * DAY, D1=3.0),
        row(11 * DAY + 1, D1=4.0),
        row(11 * DAY + 2, D1=0.5),
        row(11 * DAY + 3, D1=-0.5),  # the day after
    ]
    found, _ = advance(rows, BOTH)
    assert [f["client_count"] for f in found] == [0, 1, 0, 2, 0, 0]


def test_rule_7_a_row_without_an_amount_has_no_history() -> None:
    rows = [row(), row(DAY + 5, math.nan, TransactionID=3), row(DAY + 6)]
    found, _ = advance(rows)
    assert math.isnan(found[1]["card_count"])
    assert found[2]["card_count"] == 1


ALLOWED = {
    "np.abs", "np.empty", "np.float32", "np.float64", "np.floor", "np.int32", "np.int64", "np.nan",
    "np.inf", "np.sqrt", "np.uint64", "np.uint8",
}  # fmt: skip


@pytest.mark.parametrize("module", [kernel, key_kernel, table_kernel])
def test_rule_8_loops_use_exact_arithmetic_alone(module: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(module))
    names = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    of_numpy = {name for name in names if name.startswith("np.") and name.count(".") == 1}
    assert of_numpy <= ALLOWED
    assert "np.uint64" in of_numpy
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert loops
    assert not any(isinstance(node, ast.Pow) for loop in loops for node in ast.walk(loop))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not imported & {"math", "njit", "jit", "vectorize", "prange"}


@pytest.mark.parametrize("half_life", [1, 255, 256, 257, 65_536, 86_400, 604_800, 366 * DAY])
def test_rule_8_decay_is_two_to_the_minus_gap_by_half_life(half_life: int) -> None:
    spec = make_spec(
        plain_space("c", ("card1",), features("decayed_count", seconds=(half_life,)), ttl_days=400)
    )
    gaps = [0, 1, 255, 256, 65_535, 65_536, half_life - 1, half_life, 3 * half_life + 77]
    gaps += [600 * half_life, 34_000_000]
    for gap in (gap for gap in gaps if gap <= 34_000_000):
        (_, found), _ = advance([row(DAY), row(DAY + gap, TransactionID=2)], spec)
        (value,) = found.values()
        with localcontext() as context:
            context.prec = 60
            exact = Decimal(2) ** (Decimal(-gap) / half_life)
        if gap >= 512 * half_life:
            assert value == 0.0
        else:
            assert abs(Decimal(value) / exact - 1) < Decimal("5e-16")


def test_rule_8_entries_of_the_decay_tables_are_the_nearest_doubles() -> None:
    table = decay.decay_tables([604_800])[0]
    with localcontext() as context:
        context.prec = 70
        for first, seconds in ((0, 65_536), (decay.MIDDLE_AT, 256), (decay.FINE_AT, 1)):
            for i in range(0, 256, 5):
                power = Decimal(2) ** (Decimal(-seconds * i) / 604_800)
                assert table[first + i] == float(power)
