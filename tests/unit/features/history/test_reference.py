"""Features equal those of plain Python over lists of earlier rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.batch import build_batch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from tests.support.features.history_streams import (
    DAY,
    HOUR,
    SPECS,
    Matrix,
    Numbers,
    Row,
    every_kind,
    every_row,
    features,
    make_rows,
    make_spec,
    one_pass,
    plain_space,
    some_rows,
)
from tests.support.features.plain_history import DECAYED, plain_features

TOLERANCE = 1e-14
"""Of decayed sums, relative: the reference adds weights of its own, by powers of two."""


def faults(
    spec: HistorySpec, actual: Matrix, expected: Any, scale: float = 0.0
) -> dict[str, list[int]]:
    """Feature → the rows that differ; decayed sums may differ in their last bits."""
    wanted: NDArray[np.float64] = np.array(expected, np.float64).reshape(actual.shape)
    kinds = [f.kind for space in spec.spaces for _, f, _ in space.named]
    found: dict[str, list[int]] = {}
    for i, (name, kind) in enumerate(zip(spec.names, kinds, strict=True)):
        a, e = actual[:, i], wanted[:, i]
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        if kind in DECAYED:
            same |= np.abs(a - e) <= TOLERANCE * np.maximum(np.abs(e), scale)
        if not same.all():
            found[name] = np.flatnonzero(~same).tolist()
    return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", list(SPECS))
def test_features_of_a_stream_equal_the_reference(name: str, seed: int) -> None:
    spec, rows = SPECS[name](), make_rows(500 if name == "every kind" else 200, seed, seconds=2000)
    advances = some_rows(len(rows))
    actual, history = one_pass(spec, build_batch(rows), advances)
    assert faults(spec, actual, plain_features(spec, rows, list(advances))) == {}
    figures = history.figures()
    assert figures.late > 0
    assert figures.repeats > 0
    assert (~np.isnan(actual)).mean(axis=0).min() > 0.09  # each feature has something to say
    if name == "every kind":
        assert figures.expired > 0


def test_two_spaces_of_one_key_have_the_same_features() -> None:
    listed = (features("count"), features("mean", "C1"), features("decayed_amount", seconds=(99,)))
    spec = make_spec(
        plain_space("a", ("card1",), *listed), plain_space("b", ("card1",), *listed, ring=9)
    )
    actual, _ = one_pass(spec, build_batch(make_rows(300)))
    assert np.array_equal(actual[:, :3], actual[:, 3:], equal_nan=True)


AMOUNTS = (0.0, -0.0, 1.0, 59.95, 59.949, -20.0, 1e-320, 1e-31, 1e-30, 1e15, 1e16, 1e308, -1e308)
VALUES = (None, 0.0, 2.5, -1.0, 1e-320, 1e-31, 3e-30, 1e30, 1.1e30, 1e38, 1e308, -1e308)
GAPS = (0, 1, 59, 600, HOUR, HOUR + 1, DAY, 3 * DAY, 30 * DAY, 200 * DAY, -1, -HOUR, -DAY, -9 * DAY)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Row], list[bool]]:
    """Few keys, and whatever a record may contain."""
    time, rows = draw(st.sampled_from((0, 5, 40 * DAY, 2**32 - 100))), list[Row]()
    for number in range(draw(st.integers(1, 25))):
        time += draw(st.sampled_from(GAPS))
        row: Row = {
            "TransactionID": draw(st.sampled_from((number, 0, -1, 2**63 - 1))),
            "TransactionDT": draw(st.sampled_from((time, time, time, -5, 2**32, 2**32 - 1))),
            "TransactionAmt": draw(st.sampled_from(AMOUNTS)),
            "card1": draw(st.sampled_from((1.0, 1.0, 1.0, -1.0, None, 0.5, 2.0**60))),
            "addr1": draw(st.sampled_from((None, 1.0, 1.0, -0.0))),
            "D1": draw(st.sampled_from((None, 0.0, 0.0, 1e200, -3.5))),
        }
        for column in ("C1", "V45", "D4", "D10", "D15"):
            row[column] = draw(st.sampled_from(VALUES))
        for column in ("P_emaildomain", "id_31"):
            row[column] = draw(st.sampled_from((None, "", "a", "gmail.com", "é☃", "x" * 300)))
        rows.append(row)
    return rows, draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))


@settings(max_examples=150, deadline=None)
@given(streams(), st.sampled_from((2**30, 2**30, 1, 2, 3)), st.sampled_from((-1, -1, 45 * DAY)))
@example(([], []), 1, -1)
def test_features_equal_the_reference_whatever_the_rows_contain(
    stream: tuple[list[Row], list[bool]], max_keys: int, as_of: int
) -> None:
    rows, advances = stream
    spec = every_kind()
    history = PartitionHistory(spec, max_keys, as_of)
    out = np.empty((len(rows), len(spec.names)))
    batch = build_batch(rows)
    history.settle(history.step(batch, np.arange(len(rows)), np.array(advances, np.bool_), out))
    wanted = plain_features(spec, rows, advances, max_keys, as_of)
    scale = max([1.0, *(min(abs(row["TransactionAmt"]), 1e15) for row in rows)])
    assert faults(spec, out, wanted, scale) == {}
    assert not np.isinf(out).any()
    for name, words in history.records().spaces.items():
        assert_finite(spec, name, words)


def assert_finite(spec: HistorySpec, name: str, words: NDArray[np.uint64]) -> None:
    """No NaN, no infinity, and nothing that some processors round to 0."""
    space = next(space for space in spec.spaces if space.name == name)
    layout, floats = space.layout, words.view(np.float32)
    doubles = words[:, [6, 7, *range(9, layout.means_at)]].view(np.float64)
    assert np.isfinite(doubles).all()
    assert (doubles[doubles != 0] ** 2 > 1e-250).all()
    singles = np.hstack(
        [
            floats[:, 16:17],
            floats[:, 2 * layout.means_at : 2 * layout.counts_at],
            floats[:, 2 * layout.lasts_at : 2 * layout.sets_at],
            floats[:, 2 * layout.ring_at + 1 :: 2],
        ]
    )
    assert np.isfinite(singles).all()
    assert (np.abs(singles[singles != 0]) >= np.float32(1e-30)).all()
    assert not np.signbit(singles[singles == 0]).any()


def test_a_mean_of_many_values_follows_the_newest() -> None:
    rows = [
        {
            "TransactionID": i,
            "TransactionDT": DAY + i,
            "TransactionAmt": 1.0,
            "card1": 1.0,
            "C1": 1.0 if i < 400 else 0.0,
        }
        for i in range(30_000)
    ]
    spec = make_spec(plain_space("card", ("card1",), features("mean", "C1")))
    actual, history = one_pass(spec, build_batch(rows), every_row(len(rows)))
    assert actual[400, 0] == 1.0
    assert 0.36 < actual[655, 0] < 0.38  # 255 later: 1 / e
    assert actual[-1, 0] == 0.0  # and not a number that some processors round to 0
    assert_finite(spec, "card", history.records().spaces["card"])


def test_decayed_sums_never_become_too_small() -> None:
    """An amount long ago, and then nothing but zeros: each decays what is left by 2^-300."""
    half_life = 1_000
    spec = make_spec(
        plain_space("card", ("card1",), features("decayed_amount", seconds=(half_life,)))
    )
    rows = [
        {
            "TransactionID": i,
            "TransactionDT": DAY + i * 300 * half_life,
            "TransactionAmt": 0.0 if i else 5.0,
            "card1": 1.0,
        }
        for i in range(8)
    ]
    actual, history = one_pass(spec, build_batch(rows))
    assert actual[1:, 0].tolist() == [5.0 * 2.0**-300, 5.0 * 2.0**-600, *[0.0] * 5]
    assert_finite(spec, "card", history.records().spaces["card"])


def of_one_card(amounts: list[float], **columns: list[Any]) -> list[Row]:
    return [
        {
            "TransactionID": i,
            "TransactionDT": DAY + i,
            "TransactionAmt": amount,
            "card1": 1.0,
            **{column: values[i] for column, values in columns.items()},
        }
        for i, amount in enumerate(amounts)
    ]


def test_each_of_many_values_has_its_weight_in_a_mean() -> None:
    draw = Numbers(8)
    values = [draw.of((*VALUES[:5], 100.0 + draw.below(50))) for _ in range(700)]
    rows = of_one_card([1.0] * 700, C1=values)
    spec = make_spec(plain_space("card", ("card1",), features("mean", "C1")))
    actual, _ = one_pass(spec, build_batch(rows))
    assert faults(spec, actual, plain_features(spec, rows)) == {}


def test_the_largest_of_negative_amounts_is_negative() -> None:
    rows = of_one_card([-20.0, -5.0, -10.0, -1.0])
    spec = make_spec(plain_space("card", ("card1",), features("max_ratio")))
    actual, _ = one_pass(spec, build_batch(rows))
    assert actual[1:, 0].tolist() == [0.25, 2.0, 0.2]


@pytest.mark.parametrize("amount", [31_937.39, 117.95, 0.1, 1e14, 0.0])
def test_equal_amounts_have_no_deviation(amount: float) -> None:
    """The rounding of the sums is none."""
    rows = of_one_card([amount] * 200 + [amount + 1.0])
    spec = make_spec(plain_space("card", ("card1",), features("amount_z")))
    actual, _ = one_pass(spec, build_batch(rows))
    assert np.isnan(actual).all()
    rows = of_one_card([amount, amount * 1.001 + 0.01] * 100)
    actual, _ = one_pass(spec, build_batch(rows))
    assert np.abs(actual[10:, 0]) == pytest.approx(1.0, rel=0.2)
