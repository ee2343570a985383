"""Features: gain, contributions, drift, ablation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from trainer.report.markup import Html, join, key, table, tag
from trainer.report.numbers import NONE, decimal, even_percent, signed, whole
from trainer.report.strips import (
    SWARM_WIDTH,
    Scale,
    axis_strip,
    bar,
    interval_strip,
    scale_of,
    swarm_strip,
)
from trainer.report.subject import Subject
from trainer.report.view import View

NOTHING: Final = Html("")
MOST_FEATURES: Final = 20
MOST_SPACES: Final = 16
MODERATE: Final = 0.1
STRONG: Final = 0.25
"""The usual bounds of the population stability index."""

FULL_BAR: Final = 0.5
"""A larger index is drawn like this one, so that one feature does not hide the others."""


def feature_name(item: View) -> Html:
    """A feature's name, and below it what it is."""
    name, words = item.text("name") or NONE, item.text("text")
    return join([tag("code", name), tag("small", words) if words else NOTHING])


def gain(subjects: Sequence[Subject]) -> Html:
    """Gain by group and by feature."""
    found = subjects[0].facts.at("feature_gain")
    rows = [(item, value) for item in found.items("features", most=MOST_FEATURES)
            if (value := item.share("gain")) is not None]  # fmt: skip
    if not rows:
        plotted = subjects[0].facts.items("plots", "gain", most=MOST_FEATURES)
        rows = [(View({"name": pair[0].text()}), value) for item in plotted
                if len(pair := item.items()) == 2
                and (value := pair[1].share()) is not None]  # fmt: skip
    most = max((value for _, value in rows), default=0.0) or 1.0
    has_group = any(item.text("group") for item, _ in rows)
    lines = [
        (
            feature_name(item),
            *((item.text("group") or NONE,) if has_group else ()),
            even_percent(value),
            bar(value / most),
        )
        for item, value in rows
    ]
    head = ("feature", *(("group",) if has_group else ()), "share of gain", "")
    used, total = found.count("used"), found.count("total")
    lead = "Gain is how much the splits on a feature reduced the training loss"
    if used is not None and total is not None:
        lead += f"; {whole(used)} of {whole(total)} features are used"
    if not rows:
        return NOTHING
    return join(
        [
            tag("p", f"{lead}. A long bar far above the others deserves a look: it may be a leak."),
            _groups(found),
            table(
                "Gain by feature", head, lines, align="llrl" if has_group else "lrl", style="bars"
            ),
        ]
    )


def _groups(found: View) -> Html:
    groups = [(item, value) for item in found.items("groups", most=40)
              if (value := item.share("gain")) is not None]  # fmt: skip
    most = max((value for _, value in groups), default=0.0) or 1.0
    rows = [
        (
            item.text("group") or NONE,
            whole(item.count("features")),
            whole(item.count("used")),
            even_percent(value),
            bar(value / most, "fill-b"),
        )
        for item, value in groups
    ]
    return table(
        "Gain by group",
        ("group", "features", "used", "share of gain", ""),
        rows,
        align="lrrrl",
        style="bars",
    )


def shap(subjects: Sequence[Subject]) -> Html:
    """Size and direction of the contributions to the score of a sample of rows."""
    found = subjects[0].facts.at("shap")
    items = found.items("features", most=MOST_FEATURES)
    swarms = [[p for p in item.points("points") if -1 <= p[1] <= 100] for item in items]
    values = sorted(p[0] for swarm in swarms for p in swarm)
    if not values:
        return NOTHING
    # The outermost 1 % of the points are drawn at the edge, so that they do not squeeze the rest.
    cut = len(values) // 200
    low, high = min(values[cut], 0.0), max(values[len(values) - 1 - cut], 0.0)
    room = (high - low) * 0.03 or 0.1
    scale = Scale(low - room, high + room, SWARM_WIDTH)
    rows = []
    for item, swarm in zip(items, swarms, strict=True):
        strength = item.number("mean_absolute")
        if strength is None:
            continue
        words = _direction(item.number("direction"))
        rows.append((feature_name(item), swarm_strip(scale, swarm), decimal(strength), words))
    method = found.text("method") or "unknown method"
    lead = (
        f"Each point is one of {whole(found.count('rows'))} random evaluated transactions "
        f"({method}). Points to the right raised the score, points to the left lowered it; the "
        "colour shows whether the feature's value was low or high."
    )
    keys = [
        key("v0", "low value"),
        key("v2", "middle"),
        key("v4", "high value"),
        key("vm", "missing"),
    ]
    axis = axis_strip(scale, lambda v: signed(v, 1) if v else "0", zero=0.0)
    drawn = table(
        "Contributions to the score, in log-odds",
        ("feature", axis, "mean size", "direction"), rows, align="llrl", style="swarm",
    )  # fmt: skip
    return join([tag("p", lead), tag("p", *keys, class_="keys"), drawn])


def _direction(value: float | None) -> str:
    if value is None or abs(value) < 0.3:
        return "mixed"
    return "high values raise the score" if value > 0 else "low values raise the score"


def drift(subjects: Sequence[Subject]) -> Html:
    """Drift of the most important features from training to evaluation."""
    found = subjects[0].facts.at("feature_drift")
    items = [(item, psi) for item in found.items("features", most=MOST_FEATURES)
             if (psi := item.number("psi")) is not None and psi >= 0]  # fmt: skip
    if not items:
        return NOTHING
    items.sort(key=lambda pair: -pair[1])
    rows = [
        (
            feature_name(item),
            _judged(psi),
            decimal(psi),
            bar(psi / FULL_BAR, "fill-a" if psi >= MODERATE else "fill-b"),
            decimal(item.number("psi_by_chance")),
            _pair(item, "median", lambda v: _median(v.number())),
            _pair(item, "missing", lambda v: _one_decimal(v.number())),
        )
        for item, psi in items
    ]
    moved = sum(psi >= MODERATE for _, psi in items)
    lead = (
        f"Population stability index of the {len(items)} features with the largest gain, from "
        f"{whole(found.count('rows_before'))} training rows to {whole(found.count('rows_after'))} "
        f"evaluated rows: {moved} moved by {MODERATE:g} or more. A feature that moves much between "
        "training and evaluation will also move in production, and may then mean something else."
    )
    head = ("feature", "", "PSI", "", "by chance", "median: trained → evaluated",
            "missing: trained → evaluated")  # fmt: skip
    drawn = table("Drift by feature", head, rows, align="llrlrrr", style="bars drift")
    return join([tag("p", lead), drawn])


def _judged(psi: float) -> Html:
    if psi >= STRONG:
        return tag("span", "strong", class_="flag bad")
    return tag("span", "moderate", class_="flag") if psi >= MODERATE else NOTHING


def _median(value: float | None) -> str:
    if value is None:
        return NONE
    return whole(value) if abs(value) >= 1000 else f"{value:.3g}"


def _one_decimal(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.1f} %"


def _pair(item: View, name: str, write: Callable[[View], str]) -> str:
    before, after = item.at(f"{name}_before"), item.at(f"{name}_after")
    if before.number() is None or after.number() is None:
        return NONE
    return f"{write(before)} → {write(after)}"


def ablation(subjects: Sequence[Subject]) -> Html:
    """Each group left out: the difference in average precision, if it was measured."""
    found = subjects[0].facts.at("ablation")
    items = [(item, value) for item in found.items("rows", most=60)
             if (value := item.number("difference")) is not None]  # fmt: skip
    if not items:
        return NOTHING
    ends = [item.interval("interval") for item, _ in items]
    scale = scale_of([0.0, *(v for _, v in items), *(e for pair in ends for e in pair or ())])
    rows = [
        (
            item.text("group") or NONE,
            signed(value, 4),
            NONE if pair is None else f"{signed(pair[0], 4)} to {signed(pair[1], 4)}",
            interval_strip(scale, value, pair, 0.0),
        )
        for (item, value), pair in zip(items, ends, strict=True)
    ]
    axis = axis_strip(scale, lambda v: signed(v, 3) if v else "0", zero=0.0)
    head = ("group left out", "difference", "95 % interval", axis)
    drawn = table("Ablation by group", head, rows, align="lrrl")
    lead = (
        "The change of average precision when a group is left out: below zero, the group helps; an "
        "interval across zero means that no gain is proven."
    )
    return join([tag("p", lead), _ablation_references(found), drawn])


def _ablation_references(found: View) -> Html:
    """The whole program beside raw columns, and with and without card history."""
    named = [("whole program", found.at("whole"))]
    named += [
        (f"only {name} history", one) for name, one in found.entries("with_space", most=MOST_SPACES)
    ]
    named += [("without card history", found.at("stateless")), ("raw columns", found.at("raw"))]
    measured = [(name, one) for name, one in named if one.number("average_precision") is not None]
    ends = [one.interval("interval") for _, one in measured]
    scale = scale_of([0.0, *(e for pair in ends for e in pair or ())])
    rows = []
    for (name, one), pair in zip(measured, ends, strict=True):
        change = one.number("difference")
        rows.append(
            (
                name,
                whole(one.count("features")),
                decimal(one.number("average_precision")),
                signed(change, 4),
                NONE if pair is None else f"{signed(pair[0], 4)} to {signed(pair[1], 4)}",
                NOTHING if change is None else interval_strip(scale, change, pair, 0.0),
            )
        )
    axis = axis_strip(scale, lambda v: signed(v, 3) if v else "0", zero=0.0)
    head = ("features", "number", "average precision", "to the whole", "95 % interval", axis)
    return table("Ablation: whole programs", head, rows, align="lrrrrl")
