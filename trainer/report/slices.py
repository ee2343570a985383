"""The model's quality by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainer.report.markup import Html, join, table, tag
from trainer.report.numbers import NONE, decimal, even_percent, interval, percent, whole
from trainer.report.strips import Scale, axis_strip, interval_strip, scale_of
from trainer.report.subject import Subject
from trainer.report.view import View

NOTHING: Final = Html("")
MOST_DIMENSIONS: Final = 12
MOST_SLICES: Final = 40


def slices(subjects: Sequence[Subject]) -> Html:
    """A table for each dimension, with intervals drawn on one scale."""
    facts = subjects[0].facts.at("slices")
    dimensions = facts.items("dimensions", most=MOST_DIMENSIONS)
    if not dimensions:
        return NOTHING
    overall = subjects[0].test.share("average_precision")
    values = [overall] if overall is not None else []
    for dimension in dimensions:
        for item in dimension.items("slices", most=MOST_SLICES):
            values += item.interval("average_precision_interval") or ()
    scale = scale_of(values)
    least = facts.count("least_frauds")
    lead = (
        "An interval that does not reach the dashed line (all rows together) is a slice where the "
        "model is really better or worse. A rare slice has a wide interval. Average precision "
        "grows with the fraud rate, so compare slices with similar rates."
    )
    return join(
        [
            tag("p", lead, class_="lead"),
            *(_dimension(dimension, scale, overall, least) for dimension in dimensions),
        ]
    )


def _dimension(dimension: View, scale: Scale, overall: float | None, least: int | None) -> Html:
    rows: list[Sequence[str | Html]] = []
    small = 0
    for item in dimension.items("slices", most=MOST_SLICES):
        n, frauds = item.count("rows"), item.count("frauds")
        if n is None or frauds is None:
            continue
        value, ends = item.share("average_precision"), item.interval("average_precision_interval")
        is_small = value is None
        small += is_small
        rows.append(
            (
                item.text("name") or NONE,
                whole(n),
                whole(frauds),
                even_percent(frauds / n if n else None),
                tag("span", "too few frauds", class_="few") if is_small else _with(value, ends),
                NOTHING if value is None else interval_strip(scale, value, ends, overall),
                _share_with(item, "recall"),
                _share_with(item, "precision"),
            )
        )
    axis = axis_strip(scale, lambda v: f"{v:g}")
    head = ("slice", "rows", "frauds", "fraud rate", "average precision (95 %)", axis,
            "recall at review (95 %)", "precision at review (95 %)")  # fmt: skip
    found = table(dimension.text("title") or "Slice", head, rows, align="lrrrrlrr", style="slices")
    if not small:
        return found
    note = f"Slices with fewer than {least if least is not None else 'enough'} frauds: {small}."
    return join(
        [found, tag("p", f"{note} Their average precision would be noise.", class_="small")]
    )


def _with(value: float | None, ends: tuple[float, float] | None) -> str:
    return decimal(value) if ends is None else f"{decimal(value)} ({interval(ends)})"


def _share_with(item: View, name: str) -> str:
    value, ends = item.share(name), item.interval(f"{name}_interval")
    if value is None:
        return NONE
    if ends is None:
        return percent(value)
    return f"{value * 100:.0f} % ({ends[0] * 100:.0f} to {ends[1] * 100:.0f})"
