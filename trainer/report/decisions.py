"""Decisions: thresholds, what they do on the evaluated rows, calibration in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainer.report.curves import bins_of
from trainer.report.markup import Html, join, table, tag
from trainer.report.numbers import (
    NONE,
    decimal,
    even_percent,
    flatten,
    interval,
    percent,
    plain,
    signed,
    whole,
)
from trainer.report.subject import Subject
from trainer.report.view import View

MOST_BINS: Final = 20
NOTHING: Final = Html("")
_SCORES: Final = ("review", "block")
_CURVES: Final = {"saving_curve", "saving"}


def operating_points(subjects: Sequence[Subject]) -> Html:
    """Precision and recall at budgets and at the thresholds."""
    test = subjects[0].test
    points = [(f"top {_share(name)}", at) for name, at in test.entries("top", most=20)]
    points += [(f"{name} threshold", test.at(name)) for name in ("review", "block")]
    rows = [
        (
            name,
            whole(at.count("rows")),
            whole(at.count("frauds")),
            _with(at, "precision"),
            _with(at, "recall"),
        )
        for name, at in points
        if at.count("rows") is not None
    ]
    head = ("flagged", "rows", "frauds", "precision (95 %)", "recall (95 %)")
    return table("Operating points", head, rows)


def _share(name: str) -> str:
    try:
        return percent(float(name))
    except ValueError:
        return name


def _with(at: View, name: str) -> str:
    value = at.share(name)
    ends = at.interval(f"{name}_interval")
    if value is None:
        return NONE
    return decimal(value) if ends is None else f"{decimal(value)} ({interval(ends)})"


def confusion(subjects: Sequence[Subject]) -> Html:
    """The four counts at each threshold, as two small tables."""
    test = subjects[0].test
    rows, frauds = test.count("rows"), test.count("frauds")
    if rows is None or frauds is None:
        return NOTHING
    found = []
    for name, verb in (("review", "flagged"), ("block", "blocked")):
        at = test.at(name)
        taken, hits = at.count("rows"), at.count("frauds")
        if taken is None or hits is None or not hits <= taken <= rows or not hits <= frauds:
            continue
        missed, alarms = frauds - hits, taken - hits
        lines = [
            ("fraud", _cell(hits, frauds, "good"), _cell(missed, frauds, "bad")),
            ("legitimate", _cell(alarms, rows - frauds, "bad"),
             _cell(rows - frauds - alarms, rows - frauds, "good")),
        ]  # fmt: skip
        caption = f"At the {name} threshold"
        found.append(table(caption, ("in truth", verb, f"not {verb}"), lines, style="confusion"))
    if not found:
        return NOTHING
    lead = (
        "Percentages are of the row: the first line shows how many frauds are caught, the second "
        "how many customers are disturbed."
    )
    return join([tag("p", lead), tag("div", *found, class_="pair")])


def _cell(count: int, of: int, style: str) -> Html:
    share = f"{count / of * 100:.1f} %" if of else NONE
    return tag("span", tag("b", whole(count)), tag("span", share), class_=f"count {style}")


def thresholds(subjects: Sequence[Subject]) -> Html:
    """The thresholds and how they were chosen."""
    found = []
    for subject in subjects:
        entries = subject.facts.at("thresholds").entries(most=60)
        shown = View({n: v.value for n, v in entries if n not in _CURVES and n not in _SCORES})
        scores = {n: _score(subject.facts.at("thresholds", n)) for n in _SCORES}
        found.append(scores | dict(flatten(shown)))
    names = dict.fromkeys(name for values in found for name in values)
    rows = [[name, *(values.get(name, NONE) for values in found)] for name in names]
    head = ("", *(s.name for s in subjects)) if len(subjects) > 1 else ("", "value")
    rows = [row for row in rows if any(value != NONE for value in row[1:])]
    return table("Thresholds and how they were chosen", head, rows, align="l" * len(head))


def _score(value: View) -> str:
    return plain(value) if value else NONE


def calibration_figures(subjects: Sequence[Subject]) -> Html:
    """Brier score and calibration error before and after the map, and why there is none."""
    rows = []
    notes = []
    for subject in subjects:
        found = subject.facts.at("calibration")
        if not found:
            continue
        for name, label in (
            ("brier", "Brier score"),
            ("expected_calibration_error", "expected calibration error"),
        ):
            before, after = found.number("before", name), found.number("after", name)
            if before is None and after is None:
                continue
            change = None if before is None or after is None else after - before
            prefix = f"{subject.name}: " if len(subjects) > 1 else ""
            rows.append(
                (f"{prefix}{label}", decimal(before, 5), decimal(after, 5), signed(change, 5))
            )
        method, reason = found.text("method"), found.text("reason")
        if method or reason:
            who = f"{subject.name}: " if len(subjects) > 1 else ""
            how = f"Method: {method}." if method else f"No calibration map: {reason}."
            notes.append(tag("p", f"{who}{how}", class_="small"))
    head = ("lower is better", "before", "after", "change")
    bins = [
        (even_percent(mean), even_percent(rate), whole(n))
        for mean, rate, n in bins_of(subjects[0])[:MOST_BINS]
    ]
    named = f" of {subjects[0].name}" if len(subjects) > 1 else ""
    return join(
        [
            table("Calibration in figures", head, rows),
            *notes,
            table(
                f"Scores{named} and what became of them",
                ("mean score", "share that is fraud", "rows"), bins, align="rrr", style="dense",
            ),
        ]
    )  # fmt: skip
