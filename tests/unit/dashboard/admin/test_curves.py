"""The curves of two versions share a grid, whatever their points are."""

from __future__ import annotations

import pytest

from dashboard.models.curves import BUDGETS, RECALLS, describe_curves


def test_curves_are_read_between_their_points_and_not_beyond() -> None:
    points = [[0.1, 0.9], [0.5, 0.5], [0.5, 0.4], [0.9, 0.1]]
    found = dict(
        zip(RECALLS, describe_curves({"plots": {"precision_recall": points}})["precision"],
            strict=True)
    )  # fmt: skip
    assert found[0.1] == 0.9
    assert found[0.3] == pytest.approx(0.7)
    assert found[0.5] == 0.5
    assert (found[0.08], found[0.92]) == (None, None)
    budgets = describe_curves({"plots": {"recall_by_budget": [[0.01, 0.2, 0.1, 0.3]]}})["recall"]
    assert budgets[BUDGETS.index(0.01)] == 0.2
    assert [value for value in budgets if value is not None] == [0.2]


@pytest.mark.parametrize(
    "odd", [None, 3, "text", [1], [[1]], [["a", "b"]], [[2, 0.5]], [[None] * 2]]
)
def test_points_of_any_shape_are_left_out(odd: object) -> None:
    found = describe_curves({"plots": {"precision_recall": odd, "recall_by_budget": odd}})
    assert set(found["precision"]) | set(found["recall"]) == {None}
    assert set(describe_curves({"plots": odd})["recall"]) == {None}
