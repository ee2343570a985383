"""The report's charts, from the data in a version's metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from trainer.report.svg import Axis, Chart, nice_ticks, percent, ranked_bars, thousands

WIDE: Final = 940
SHARE_TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
DECADES: Final = (0.0001, 0.001, 0.01, 0.1, 1.0)


def _shares(name: str) -> Axis:
    return Axis(name, 0.0, 1.0, SHARE_TICKS, percent)


def precision_recall(plots: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """Precision over recall, with the two thresholds and the level of chance."""
    chart = Chart("Precision over recall", _shares("recall"), _shares("precision"))
    chart.line([(0, test["fraud_rate"]), (1, test["fraud_rate"])], "chance")
    chart.line([(a, b) for a, b in plots["precision_recall"]], "line-a")
    for name in ("review", "block"):
        at = test[name]
        if at["precision"] is not None:
            tip = f"{name}: precision {at['precision']:.3f}, recall {at['recall']:.3f}"
            chart.point(at["recall"], at["precision"], f"dot-{name}", tip, 5)
    return chart.write()


def roc(plots: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    """True positive over false positive rate."""
    chart = Chart("ROC curve", _shares("legitimate rows flagged"), _shares("frauds flagged"))
    chart.line([(0, 0), (1, 1)], "chance")
    chart.line([(a, b) for a, b in plots["roc"]], "line-a")
    return chart.write()


def calibration(plots: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    """Fraud rate over mean score, on logarithmic axes."""
    bins = [row for row in plots["calibration"] if row[0] > 0]
    low = min((s for row in bins for s in row[:2] if s > 0), default=0.001)
    decade = max(DECADES[0], 10 ** math.floor(math.log10(low)))
    ticks = tuple(d for d in DECADES if d >= decade)
    x, y = (
        Axis(name, decade, 1.0, ticks, percent, is_log=True)
        for name in ("mean score", "share that is fraud")
    )
    chart = Chart("Calibration", x, y)
    chart.line([(decade, decade), (1, 1)], "chance")
    shown = [(mean, rate) for mean, rate, _ in bins if rate > 0]
    chart.line(shown, "line-a")
    for mean, rate, rows in bins:
        tip = f"{rows:,} rows: mean score {percent(mean)}, fraud {percent(rate)}"
        chart.point(mean, max(rate, decade), "dot-a", tip)
    return chart.write()


def score_histogram(
    plots: Mapping[str, Any], _: Mapping[str, Any], thresholds: Mapping[str, Any]
) -> str:
    """The distribution of scores in each class: shares of the class, over log-odds."""
    spread = plots["score_histogram"]
    edges = spread["edges"]
    shares = {
        name: [count / (sum(spread[name]) or 1) for count in spread[name]]
        for name in ("honest", "fraud")
    }
    top = max(max(values) for values in shares.values()) or 1.0
    ticks = tuple(t for t in nice_ticks(edges[0], edges[-1], 8))
    chart = Chart(
        "Scores by class",
        Axis("score (on a log-odds scale)", edges[0], edges[-1], ticks, _probability),
        Axis("share of the class", 0, top * 1.05, (), percent),
    )
    for name, label, style in (("honest", "legitimate", "fill-b"), ("fraud", "fraud", "fill-a")):
        for left, right, share in zip(edges, edges[1:], shares[name], strict=False):
            if share:
                chart.bar(left, right, share, style, f"{label}: {percent(share)}")
    for name in ("review", "block"):
        score = thresholds[name]
        if 0 < score < 1:
            chart.vertical(math.log(score / (1 - score)), f"{name} {score:.3f}")
    return chart.write()


def _probability(log_odds: float) -> str:
    p = 1 / (1 + math.exp(-log_odds))
    return f"{p:.2g}" if p < 0.9 else f"{p:.4g}"


def recall_by_budget(plots: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """Frauds found, and precision, by the share of transactions that are reviewed."""
    rows = plots["recall_by_budget"]
    ticks = (0.001, 0.005, 0.02, 0.05, 0.1, 0.3)
    chart = Chart(
        "Recall by review budget",
        Axis("share of transactions reviewed", rows[0][0], rows[-1][0], ticks, percent, True),
        _shares("share"),
    )
    chart.line([(budget, recall) for budget, recall, _ in rows], "line-a")
    chart.line([(budget, precision) for budget, _, precision in rows], "line-b")
    for budget, recall, precision in rows:
        tip = f"reviewing {percent(budget)}: recall {recall:.3f}, precision {precision:.3f}"
        chart.point(budget, recall, "dot-a", tip)
        chart.point(budget, precision, "dot-b", tip)
    share = test["review"]["share"]
    if rows[0][0] <= share <= rows[-1][0]:
        chart.vertical(share, f"flagged {percent(share)}")
    return chart.write()


def gain(plots: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    """The features that reduced the loss most."""
    return ranked_bars("Gain by feature", [(name, share) for name, share in plots["gain"]])


def over_time(plots: Mapping[str, Any], split: Mapping[str, Any]) -> str:
    """Transactions by day as bars, and where the parts of the split start."""
    time = plots["time"]
    first, width = time["first_day"], time["days"]
    last = first + width * len(time["rows"])
    chart = Chart(
        "Transactions over time",
        Axis("day", first, last),
        Axis("transactions", 0, max(time["rows"]) * 1.05, (), thousands),
        WIDE,
    )
    for i, (rows, frauds) in enumerate(zip(time["rows"], time["frauds"], strict=True)):
        day = first + i * width
        tip = f"day {day}: {rows:,} transactions, {frauds:,} frauds"
        chart.bar(day, day + width, rows, "fill-b", tip)
    for part in ("validation", "test"):
        chart.vertical(split[part]["first_seconds"] / 86_400, part)
    return chart.write()


def fraud_rate(plots: Mapping[str, Any], split: Mapping[str, Any]) -> str:
    """Fraud rate by week."""
    time = plots["time"]
    weeks = _weeks(time)
    last = time["first_day"] + time["days"] * len(time["rows"])
    top = max((rate for _, rate, _ in weeks), default=0.1) or 0.1
    chart = Chart(
        "Fraud rate by week",
        Axis("day", time["first_day"], last),
        Axis("share that is fraud", 0, top * 1.15, (), percent),
        WIDE,
    )
    chart.line([(day, rate) for day, rate, _ in weeks], "line-a")
    for day, rate, rows in weeks:
        chart.point(day, rate, "dot-a", f"around day {day:g}: {percent(rate)} of {rows:,}")
    for part in ("validation", "test"):
        chart.vertical(split[part]["first_seconds"] / 86_400, part)
    return chart.write()


def _weeks(time: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    """Middle day, fraud rate and number of rows of each week with rows."""
    days = max(1, round(7 / time["days"]))
    out = []
    for start in range(0, len(time["rows"]), days):
        rows = sum(time["rows"][start : start + days])
        if rows:
            frauds = sum(time["frauds"][start : start + days])
            middle = time["first_day"] + (start + days / 2) * time["days"]
            out.append((middle, frauds / rows, rows))
    return out
