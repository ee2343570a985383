"""Amounts of missed fraud: which inputs are read, in how many rounds, and where amounts go."""

from __future__ import annotations

import numpy as np

from stream_scorer.kafka.spans import Span
from stream_scorer.quality.amounts import MAX_READ, Place, Stated, fill_amounts, plan_rounds
from tests.support.quality.kit import FRAUD, LEGITIMATE, count, make_labels, make_rows


def test_only_missed_frauds_are_read_and_filled_in() -> None:
    rows = make_rows(
        [0.7, 0.1, 0.2, 0.3, 0.4],
        amounts=np.array([5.0, np.nan, np.nan, np.nan, np.nan]),
        offsets=np.array([10, 11, 12, 13, 14]),
        partitions=np.array([0, 0, 1, 1, -1]),
        products=np.array([0, -1, -1, -1, -1], np.int16),
        product_names=("C",),
    )
    labels = make_labels({i: {"report": FRAUD if i != 2 else LEGITIMATE} for i in range(5)})
    counts = count(rows, labels)
    asked: list[Place] = []

    def read(places: list[Place]) -> dict[Place, Stated]:
        asked.extend(places)
        return {(0, 11): Stated(7.5, "W")}  # the other one is gone

    assert fill_amounts(counts, read) == 1
    assert asked == [(0, 11), (1, 13)]
    found = counts.versions["v1"].labelled
    np.testing.assert_equal(found.amounts, [5.0, 7.5, np.nan, np.nan, np.nan])
    assert found.products.tolist() == [0, 1, -1, -1, -1]
    assert counts.product_names == ["C", "W"]


def test_nothing_is_asked_for_where_nothing_is_missing() -> None:
    counts = count(make_rows([0.7]), make_labels({}))
    assert fill_amounts(counts, lambda _places: {}) == 0


def test_number_of_inputs_to_read_is_bounded() -> None:
    n = MAX_READ + 50
    labels = make_labels({i: {"report": FRAUD} for i in range(n)})
    asked: list[Place] = []

    def read(places: list[Place]) -> dict[Place, Stated]:
        asked.extend(places)
        return dict.fromkeys(places, Stated(1.0, None))

    counts = count(make_rows(np.full(n, 0.1)), labels)
    assert fill_amounts(counts, read) == MAX_READ
    assert len(asked) == MAX_READ
    products = counts.versions["v1"].labelled.products
    assert np.bincount(products + 2).tolist() == [MAX_READ, n - MAX_READ]  # without, not known


def test_near_offsets_are_read_together_and_removed_ones_not_at_all() -> None:
    spans = {0: Span(100, 10_000), 1: Span(0, 50)}
    places = [(0, 99), (0, 150), (0, 100), (0, 9_999), (0, 10_000), (1, 7), (2, 3), (0, 150)]
    assert list(plan_rounds(places, spans)) == [
        {0: Span(100, 151), 1: Span(7, 8)},
        {0: Span(9_999, 10_000)},
    ]
    assert list(plan_rounds([], spans)) == []
