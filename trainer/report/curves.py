"""The curves: precision and recall, ROC, review budget, calibration, scores, saving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from trainer.report.markup import Html, figure, join, key
from trainer.report.numbers import decimal, percent, thousands, whole
from trainer.report.subject import Subject
from trainer.report.svg import Axis, Chart
from trainer.report.view import Point, View

SHARE_TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BUDGET_TICKS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
DECADES: Final = tuple(10.0**power for power in range(-6, 1))
NOTHING: Final = Html("")
ROUND_SCORES: Final = (
    1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 0.999,
)  # fmt: skip
_HALF: Final = 0.5


def _shares(name: str) -> Axis:
    return Axis(name, 0.0, 1.0, SHARE_TICKS, percent)


def _inside(points: Sequence[Point], low: float = 0.0, high: float = 1.0) -> list[Point]:
    return [p for p in points if all(low <= value <= high for value in p)]


def _legend(subjects: Sequence[Subject], more: Sequence[Html] = ()) -> Html:
    names = [key(s.style, s.name, is_line=True) for s in subjects] if len(subjects) > 1 else []
    return join([*names, *more])


def _has_band(subjects: Sequence[Subject], name: str) -> list[Point]:
    return _inside(subjects[0].facts.points("curves", name, width=3))


def precision_recall(subjects: Sequence[Subject]) -> Html:
    """Precision over recall, with the thresholds and the level of chance."""
    first = subjects[0]
    lines = [(s, _inside(s.facts.points("plots", "precision_recall"))) for s in subjects]
    if not lines[0][1]:
        return NOTHING
    chance = first.test.share("fraud_rate")
    half = next((p for p in lines[0][1] if p[0] >= _HALF), None)
    reading = "The nearer to the upper right corner, the better."
    if half is not None and chance is not None:
        reading = (
            f"When half of the frauds are found, {percent(half[1])} of the flagged transactions "
            f"are frauds; flagging at random gives {percent(chance)}."
        )
    chart = Chart(f"Precision over recall. {reading}", _shares("recall"), _shares("precision"))
    band = _has_band(subjects, "precision_recall_band")
    chart.band(band)
    if chance is not None:
        chart.line([(0, chance), (1, chance)], "chance")
        chart.note(0.0, chance, f"chance {percent(chance)}", dx=6, dy=-6)
    for subject, points in reversed(lines):
        chart.line(points, subject.style)
    for subject in reversed(subjects):
        _mark_thresholds(chart, subject, is_first=subject is first)
    keys = _legend(subjects, [key("band", "95 % band")] if band else [])
    return figure("Precision and recall", reading, chart.write(), keys=keys)


def _mark_thresholds(chart: Chart, subject: Subject, *, is_first: bool) -> None:
    for name in ("review", "block"):
        at = subject.test.at(name)
        precision, recall = at.share("precision"), at.share("recall")
        if precision is None or recall is None:
            continue
        tip = f"{subject.name}, {name} threshold: precision {precision:.3f}, recall {recall:.3f}"
        chart.point(recall, precision, f"dot-{'a' if is_first else 'b'} ring", tip, 5)
        if is_first:
            chart.note(recall, precision, name, dx=9, dy=-9 if precision < 0.9 else 16)


def roc(subjects: Sequence[Subject]) -> Html:
    """True positive over false positive rate."""
    lines = [(s, _inside(s.facts.points("plots", "roc"))) for s in subjects]
    if not lines[0][1]:
        return NOTHING
    auc = subjects[0].test.share("roc_auc")
    reading = "The nearer to the upper left corner, the better; the diagonal is chance."
    if auc is not None:
        reading = (
            f"A fraud scores higher than a legitimate transaction in {percent(auc)} of all pairs; "
            "by chance (the diagonal) it is 50 %."
        )
    chart = Chart(
        f"ROC curve. {reading}", _shares("share of legitimate transactions flagged"),
        _shares("share of frauds found"),
    )  # fmt: skip
    band = _has_band(subjects, "roc_band")
    chart.band(band)
    chart.line([(0, 0), (1, 1)], "chance")
    chart.note(0.62, 0.62, "chance", dx=8, dy=16)
    for subject, points in reversed(lines):
        chart.line(points, subject.style)
    keys = _legend(subjects, [key("band", "95 % band")] if band else [])
    return figure("ROC curve", reading, chart.write(), keys=keys)


def recall_by_budget(subjects: Sequence[Subject]) -> Html:
    """Frauds found, and precision, by the share of transactions that are reviewed."""
    first = subjects[0]
    lines = [
        (s, [p for p in _inside(s.facts.points("plots", "recall_by_budget", width=3)) if p[0] > 0])
        for s in subjects
    ]
    rows = lines[0][1]
    if len(rows) < 2 or rows[0][0] >= rows[-1][0]:
        return NOTHING
    share = first.test.share("review", "share")
    found = first.test.share("review", "recall")
    reading = "How many frauds are found if only the highest scores are reviewed."
    if share is not None and found is not None:
        reading = (
            f"Reviewing {percent(share)} of the transactions finds {percent(found)} of the frauds; "
            "further right more is found, with more false alarms."
        )
    low, high = rows[0][0], rows[-1][0]
    ticks = tuple(t for t in BUDGET_TICKS if low <= t <= high)
    chart = Chart(
        f"Recall and precision by review budget. {reading}",
        Axis("share of transactions reviewed", low, high, ticks, percent, is_log=True),
        _shares("share"),
        right=76,
    )
    if share is not None and low <= share <= high:
        chart.vertical(share, f"review {percent(share)}")
    for subject, points in reversed(lines):
        dashes = "" if subject is first else " other"
        names = ("recall", "precision") if subject is first else ("", "")
        chart.line([(p[0], p[1]) for p in points], "line-a" + dashes, names[0])
        chart.line([(p[0], p[2]) for p in points], "line-b" + dashes, names[1])
    for budget, recall, precision in rows:
        tip = f"reviewing {percent(budget)}: recall {recall:.3f}, precision {precision:.3f}"
        chart.point(budget, recall, "dot-a", tip, 3)
        chart.point(budget, precision, "dot-b", tip, 3)
    if len(subjects) > 1:
        reading += f" Dashed: {subjects[1].name}."
    return figure("Recall by review budget", reading, chart.write())


def reliability(subjects: Sequence[Subject]) -> Html:
    """Fraud rate over mean score, before and after calibration, on logarithmic axes."""
    lines: list[tuple[str, str, list[Point]]] = []
    calibration = subjects[0].facts.at("calibration")
    before, after = (_bins(calibration.at(name)) for name in ("before", "after"))
    if len(subjects) == 1 and before and after:
        lines = [("before", "line-b", before), ("after", "line-a", after)]
    else:
        lines = [(s.name, s.style, bins_of(s)) for s in subjects]
    lines = [line for line in lines if line[2]]
    low = min((v for _, _, bins in lines for b in bins for v in b[:2] if v > 0), default=0.0)
    if not low > 0:
        return NOTHING
    decade = max(DECADES[0], min(10.0 ** math.floor(math.log10(low)), 0.1))
    ticks = tuple(d for d in DECADES if d >= decade * 0.999)
    reading = "On the dashed line the score equals the share of frauds: there it is a probability."
    x, y = (
        Axis(name, decade, 1.0, ticks, percent, is_log=True)
        for name in ("mean score", "share that is fraud")
    )
    chart = Chart(f"Calibration. {reading}", x, y, right=58 if len(lines) > 1 else 20)
    chart.line([(decade, decade), (1, 1)], "chance")
    for name, style, bins in lines:
        chart.line([b for b in bins if b[0] > 0 and b[1] > 0], style, name if lines[1:] else "")
        for mean, rate, rows in bins:
            tip = f"{name}: {whole(rows)} rows, mean score {percent(mean)}, fraud {percent(rate)}"
            chart.point(mean, max(rate, decade), style.replace("line", "dot"), tip, 3.5)
    return figure("Calibration", reading, chart.write())


def bins_of(subject: Subject) -> list[Point]:
    """Mean score, fraud rate and rows of bins of the served scores."""
    found = _bins(subject.facts.at("calibration", "after"))
    plotted = subject.facts.points("plots", "calibration", width=3)
    return found or [row for row in plotted if 0 <= row[0] <= 1 and 0 <= row[1] <= 1]


def _bins(facts: View) -> list[Point]:
    """Mean score, fraud rate and rows of bins: rows of numbers, or objects with their frauds."""
    rows: list[Point] = list(facts.points("reliability", width=3))
    for item in facts.items("reliability"):
        mean, frauds, n = item.number("mean_score"), item.number("frauds"), item.number("rows")
        if mean is not None and frauds is not None and n is not None and n > 0:
            rows.append((mean, frauds / n, n))
    return [row for row in rows if 0 <= row[0] <= 1 and 0 <= row[1] <= 1]


def score_histogram(subjects: Sequence[Subject]) -> Html:
    """The distribution of scores in each class: shares of the class, over log-odds."""
    first = subjects[0]
    spread = first.facts.at("plots", "score_histogram")
    edges = [p[0] for p in spread.points("edges", width=1)] or _numbers(spread.items("edges"))
    counts = {name: _numbers(spread.items(name)) for name in ("honest", "fraud")}
    if len(edges) < 2 or any(len(c) != len(edges) - 1 for c in counts.values()):
        return NOTHING
    if any(b <= a for a, b in pairwise(edges)) or edges[-1] - edges[0] > 100:
        return NOTHING
    shares = {k: [max(c, 0) / (sum(map(abs, v)) or 1) for c in v] for k, v in counts.items()}
    top = max(max(values) for values in shares.values()) or 1.0
    reading = (
        "The less the two shapes overlap, the better the score separates frauds from legitimate "
        "transactions."
    )
    chart = Chart(
        f"Scores by class. {reading}",
        Axis("score (log-odds scale)", edges[0], edges[-1], _score_ticks(edges), _probability),
        Axis("share of the class", 0, top * 1.08, (), percent),
    )
    for name, label, style in (("honest", "legitimate", "fill-b"), ("fraud", "fraud", "fill-a")):
        for left, right, share in zip(edges, edges[1:], shares[name], strict=False):
            if share:
                tip = f"{label}: {percent(share)} score about {_probability((left + right) / 2)}"
                chart.bar(left, right, share, style, tip)
    for name in ("review", "block"):
        score = first.facts.share("thresholds", name)
        if score is not None and 0 < score < 1:
            chart.vertical(math.log(score / (1 - score)), f"{name} {decimal(score)}")
    keys = join([key("fill-a", "fraud"), key("fill-b", "legitimate")])
    return figure("Scores by class", reading, chart.write(), keys=keys)


def _numbers(items: Sequence[View]) -> list[float]:
    return [number for item in items if (number := item.number()) is not None]


def _score_ticks(edges: Sequence[float]) -> tuple[float, ...]:
    """The log-odds of round scores inside the edges, not closer than a twelfth of the range."""
    ticks: list[float] = []
    for score in ROUND_SCORES:
        z = math.log(score / (1 - score))
        far = not ticks or z - ticks[-1] >= (edges[-1] - edges[0]) / 12
        if edges[0] <= z <= edges[-1] and far:
            ticks.append(z)
    return tuple(ticks) or (edges[0],)


def _probability(log_odds: float) -> str:
    p = 1 / (1 + math.exp(-min(max(log_odds, -50.0), 50.0)))
    return f"{p:.2g}" if p < 0.95 else f"{p:.4g}"


def saving(subjects: Sequence[Subject]) -> Html:
    """Expected saving over the review threshold."""
    first = subjects[0]
    points = saving_points(first.facts.at("thresholds"))
    if len(points) < 2 or points[0][0] >= points[-1][0]:
        return NOTHING
    best = max(points, key=lambda p: p[1])
    reading = (
        f"The saving is largest, {whole(best[1])}, at a review threshold of {best[0]:.3g}; "
        "below zero, reviews cost more than they save."
    )
    low, high = min(0.0, *(p[1] for p in points)), max(0.0, *(p[1] for p in points))
    positive = [p for p in points if p[0] > 0]
    is_log = len(positive) > 2 and positive[0][0] > 0 and positive[-1][0] / positive[0][0] > 50
    shown = positive if is_log else points
    ticks = tuple(d for d in DECADES if shown[0][0] <= d <= shown[-1][0]) if is_log else ()
    room = (high - low) * 0.06 or 1.0
    chart = Chart(
        f"Expected saving by review threshold. {reading}",
        Axis("review threshold (score)", shown[0][0], shown[-1][0], ticks, is_log=is_log),
        Axis("expected saving", low - (room if low < 0 else 0), high + room, (), thousands),
    )
    chart.line([(shown[0][0], 0), (shown[-1][0], 0)], "chance")
    chart.line(shown, "line-a")
    chart.point(best[0], best[1], "dot-a", f"threshold {best[0]:.4g}: saving {whole(best[1])}", 5)
    chosen = first.facts.share("thresholds", "review")
    if chosen is not None and shown[0][0] <= chosen <= shown[-1][0]:
        chart.vertical(chosen, f"chosen {chosen:.3g}")
    return figure("Expected saving", reading, chart.write())


def saving_points(thresholds: View) -> list[Point]:
    """Threshold and saving, in order of the threshold."""
    for names in (("saving_curve",), ("saving_curve", "points"), ("saving", "curve")):
        rows: list[Point] = list(thresholds.points(*names))
        for item in thresholds.items(*names):
            score, value = item.number("threshold"), item.number("saving")
            if score is not None and value is not None:
                rows.append((score, value))
        if rows:
            return sorted((row[0], row[1]) for row in rows if 0 <= row[0] <= 1)
    return []
