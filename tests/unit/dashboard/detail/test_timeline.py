"""The dots of a time line: place, size, shape. Distances and durations as text."""

from __future__ import annotations

from dashboard.web.detail.figures import describe_distance
from dashboard.web.detail.timeline import WIDTH, Point, draw_time_line
from dashboard.web.texts import describe_duration


def test_time_runs_from_left_to_right_and_area_is_the_amount() -> None:
    points = [Point(900, 400.0, "this", "0-2"), Point(100, 100.0, "flagged", "0-1")]
    line = draw_time_line(points, 0, 1000)
    assert [dot.point.id for dot in line.dots] == ["0-1", "0-2"]
    left, right = line.dots
    assert 0 < left.x < WIDTH / 4 < 3 * WIDTH / 4 < right.x < WIDTH
    assert left.radius < right.radius
    assert line.middle == 500


def test_shape_shows_what_was_decided() -> None:
    states = ("fraud", "legitimate", "unsure", "flagged", "this", "other")
    points = [Point(i * 100, 5.0, state) for i, state in enumerate(states)]
    corners = [len(dot.corners.split()) for dot in draw_time_line(points, 0, 1000).dots]
    assert corners == [4, 4, 3, 0, 0, 0]


def test_burst_is_not_drawn_as_one_dot() -> None:
    dots = draw_time_line([Point(500 + i, 5.0, "flagged") for i in range(6)], 0, 100_000).dots
    assert len({(dot.x, dot.y) for dot in dots[:3]}) == 3


def test_odd_amounts_and_times_stay_inside() -> None:
    amounts = [(-5, None), (5000, float("nan")), (500, -20.0)]
    line = draw_time_line([Point(at, amount, "flagged") for at, amount in amounts], 0, 1000)
    assert all(dot.radius <= dot.x <= WIDTH - dot.radius for dot in line.dots)
    assert draw_time_line([], 7, 7).dots == []


def test_distance_to_a_threshold_never_reads_as_zero() -> None:
    assert describe_distance(0.87, 0.8) == "+0.0700"
    assert describe_distance(0.79, 0.8) == "\N{MINUS SIGN}0.0100"
    assert describe_distance(0.8, 0.8) == "reached exactly"
    assert describe_distance(0.79999999, 0.8) == "\N{MINUS SIGN}1e-08"


def test_duration_has_one_unit() -> None:
    assert describe_duration(0, 38) == "38 ms"
    assert describe_duration(0, 1_240) == "1.2 s"
    assert describe_duration(0, 185_000) == "3 min"
    assert describe_duration(0, 50 * 3_600_000) == "2 d"
    assert describe_duration(None, 5) is None
    assert describe_duration(9, 5) is None
