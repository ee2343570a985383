"""The dots of a time line: place, size, shape."""

from __future__ import annotations

from typing import Any

from dashboard.web.detail.figures import describe_distance, describe_duration
from dashboard.web.detail.timeline import WIDTH, draw_time_line


def item(number: int, at: int, amount: float | None = 100.0, label: str | None = None) -> Any:
    case = {"label": label} if label else None
    return {"id": f"0-{number}", "scored_at": at, "amount": amount, "case": case}


def test_time_runs_from_left_to_right_and_area_is_the_amount() -> None:
    line = draw_time_line([item(2, 900, 400.0), item(1, 100, 100.0)], "0-2", 0, 1000)
    assert [dot.id for dot in line.dots] == ["0-1", "0-2"]
    left, right = line.dots
    assert 0 < left.x < WIDTH / 4 < 3 * WIDTH / 4 < right.x < WIDTH
    assert left.radius < right.radius
    assert [dot.state for dot in line.dots] == ["flagged", "this"]
    assert [mark.millis for mark in line.marks] == [0, 250, 500, 750, 1000]


def test_shape_shows_what_was_decided() -> None:
    labels = ("FRAUD", "LEGITIMATE", "UNSURE", None)
    items = [item(i, i * 100, label=label) for i, label in enumerate(labels)]
    dots = draw_time_line(items, "0-9", 0, 1000).dots
    assert [dot.state for dot in dots] == ["fraud", "legitimate", "unsure", "flagged"]
    assert [len(dot.points.split()) for dot in dots] == [4, 4, 3, 0]


def test_burst_is_not_drawn_as_one_dot() -> None:
    dots = draw_time_line([item(i, 500 + i) for i in range(6)], "0-0", 0, 100_000).dots
    assert len({(dot.x, dot.y) for dot in dots[:3]}) == 3


def test_odd_amounts_and_times_stay_inside() -> None:
    items = [item(1, -5, None), item(2, 5000, float("nan")), item(3, 500, -20.0)]
    line = draw_time_line(items, "0-1", 0, 1000)
    assert all(dot.radius <= dot.x <= WIDTH - dot.radius for dot in line.dots)
    assert draw_time_line([], "0-1", 7, 7).dots == []


def test_distance_to_a_threshold_never_reads_as_zero() -> None:
    assert describe_distance(0.87, 0.8) == "0.0700 above"
    assert describe_distance(0.79, 0.8) == "0.0100 below"
    assert describe_distance(0.8, 0.8) == "reached exactly"
    assert describe_distance(0.79999999, 0.8) == "1e-08 below"


def test_duration_has_one_unit() -> None:
    assert describe_duration(0, 38) == "38 ms"
    assert describe_duration(0, 1_240) == "1.2 s"
    assert describe_duration(0, 185_000) == "3 min"
    assert describe_duration(0, 50 * 3_600_000) == "2 d"
    assert describe_duration(None, 5) is None
    assert describe_duration(9, 5) is None
