"""The data of the report's plots: compact, computed in training, stored in the metadata."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.measures import Ranking, rank

Floats = NDArray[np.float64]

CURVE_POINTS: Final = 150
CALIBRATION_BINS: Final = 12
HISTOGRAM_BINS: Final = 40
LOG_ODDS_LIMIT: Final = 12.0
BUDGETS: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
GAIN_FEATURES: Final = 30
DAY_SECONDS: Final = 86_400
MOST_PERIODS: Final = 200
_DIGITS: Final = 6


def plot_facts(
    scores: Floats,
    labels: NDArray[np.int8],
    times: NDArray[np.int64],
    all_labels: NDArray[np.int8],
    gains: dict[str, float],
    decided: Floats | None = None,
) -> dict[str, Any]:
    """The data of all plots in the report; ``scores`` and ``labels`` are the test part's.

    The histogram, which says what other thresholds would do, is of ``decided`` if they are given.
    """
    ranking = rank(scores, labels)
    total = sum(gains.values()) or 1.0
    return {
        "precision_recall": _precision_recall(ranking),
        "roc": _roc(ranking),
        "calibration": _calibration(scores, labels),
        "score_histogram": _score_histogram(scores if decided is None else decided, labels),
        "recall_by_budget": _recall_by_budget(ranking),
        "gain": [[n, _short(g / total)] for n, g in list(gains.items())[:GAIN_FEATURES]],
        "time": _over_time(times, all_labels),
    }


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _points(x: Floats, y: Floats) -> list[list[float]]:
    """At most ``CURVE_POINTS`` points, evenly spaced along the curve, including both ends."""
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    wanted = np.linspace(0, length[-1], CURVE_POINTS)
    at = np.unique(np.searchsorted(length, wanted).clip(0, len(x) - 1))
    return [[_short(a), _short(b)] for a, b in zip(x[at], y[at], strict=True)]


def _precision_recall(ranking: Ranking) -> list[list[float]]:
    recall = ranking.hits / max(int(ranking.hits[-1]), 1)
    return _points(recall, ranking.hits / ranking.taken)


def _roc(ranking: Ranking) -> list[list[float]]:
    misses = ranking.taken - ranking.hits
    x = np.concatenate([[0], misses / max(int(misses[-1]), 1)])
    return _points(x, np.concatenate([[0], ranking.hits / max(int(ranking.hits[-1]), 1)]))


def _calibration(scores: Floats, labels: NDArray[np.int8]) -> list[list[float]]:
    """Mean score, fraud rate and rows of bins with about the same number of frauds each."""
    order = np.argsort(scores, kind="stable")
    weight = np.cumsum(labels[order] / max(int(labels.sum()), 1) + 1 / len(labels))
    bins = np.minimum((weight / weight[-1] * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    out = []
    for b in np.unique(bins):
        rows = order[bins == b]
        out.append([_short(scores[rows].mean()), _short(labels[rows].mean()), len(rows)])
    return out


def _score_histogram(scores: Floats, labels: NDArray[np.int8]) -> dict[str, Any]:
    """Counts by log-odds, which spread the scores out; one list for each class."""
    p = np.clip(scores, 1e-12, 1 - 1e-12)
    z = np.clip(np.log(p) - np.log1p(-p), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    edges = np.linspace(np.floor(z.min()), np.ceil(z.max() + 1e-9), HISTOGRAM_BINS + 1)
    return {
        "edges": [_short(e) for e in edges],
        "honest": np.histogram(z[labels == 0], edges)[0].tolist(),
        "fraud": np.histogram(z[labels == 1], edges)[0].tolist(),
    }


def _recall_by_budget(ranking: Ranking) -> list[list[float]]:
    """Share of rows reviewed, recall, precision."""
    n, frauds = len(ranking.labels), max(int(ranking.labels.sum()), 1)
    found = np.cumsum(ranking.labels)
    out = []
    for budget in BUDGETS:
        taken = max(1, int(n * budget))
        hits = int(found[taken - 1])
        out.append([budget, _short(hits / frauds), _short(hits / taken)])
    return out


def _over_time(times: NDArray[np.int64], labels: NDArray[np.int8]) -> dict[str, Any]:
    """Rows and frauds per day, or per several days if there are too many."""
    day = times // DAY_SECONDS
    first = int(day.min())
    width = max(1, -(-int(day.max() - first + 1) // MOST_PERIODS))
    period = (day - first) // width
    rows = np.bincount(period)
    frauds = np.bincount(period, weights=labels).astype(int)
    return {
        "first_day": first,
        "days": width,
        "rows": rows.tolist(),
        "frauds": frauds.tolist(),
    }
