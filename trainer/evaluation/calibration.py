"""Fits the calibration map on out-of-time scores, and measures how well scores are calibrated."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from stream_scorer.model.calibration import (
    MAX_KNOTS,
    MIN_SLOPE,
    Calibration,
    calibrate,
    parse_calibration,
)
from trainer.evaluation.measures import log_loss

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

MIN_FRAUDS: Final = 100
"""With fewer, a map would have a handful of knots, and chance alone moves its level by 10 %."""

MIN_BLOCK_FRAUDS: Final = 20
"""The standard error of a knot's share of fraud is then 22 % of it. On three synthetic sets with
about 750 frauds, the calibration error on later rows was .0106 with 10, .0102 with 20 and .0089
with 40; before the map it was .0137."""

ERROR: Final = "expected_calibration_error"

_MIN_GAP: Final = 2.0**-30  # between two knots: far above a double's precision, below any meaning
_QUANTILES: Final = (*(share / 10 for share in range(10)), 0.95, 0.98, 0.99, 1.0)
"""Ends of the bins: most frauds are in the tenth with the highest scores, so it has four bins."""


class Piece(NamedTuple):
    """Scores that a model gave to later rows than it was trained on, and their labels."""

    scores: Floats
    labels: Labels


def fit_pooled(pieces: Sequence[Piece]) -> tuple[Calibration | None, dict[str, Any]]:
    """The map fitted on all pieces, which are in the order of time; and facts for the metadata.

    The facts compare scores before and after a map on the same rows. That map is fitted on earlier
    pieces than the rows: no row is judged by a map that has seen it. With only one piece, its
    earlier half fits and its later half judges.
    """
    scores, labels = _pool(pieces)
    frauds = int(labels.sum())
    if frauds < MIN_FRAUDS:
        reason = f"{frauds} frauds in the test windows, and a calibration map needs {MIN_FRAUDS}"
        facts = {"method": None, "reason": reason, "before": measure_calibration(scores, labels)}
        return None, {**facts, "after": None}
    calibration = fit_map(scores, labels)
    parts = list(pieces) if len(pieces) > 1 else _halves(pieces[0])
    judged, mapped = _pool(parts[1:]), []
    for n in range(1, len(parts)):
        earlier = _pool(parts[:n])
        mapped.append(calibrate(parts[n].scores, fit_map(*earlier)))
    before = measure_calibration(*judged)
    after = measure_calibration(np.concatenate(mapped), judged.labels)
    if after[ERROR] >= before[ERROR]:
        reason = (
            f"a map makes the scores of later windows worse: calibration error {before[ERROR]:.4f} "
            f"without it, {after[ERROR]:.4f} with it"
        )
        return None, {"method": None, "reason": reason, "before": before, "after": None}
    return calibration, {
        "method": "isotonic",
        "reason": None,
        "knots": len(calibration.x),
        "rows": len(labels),
        "frauds": frauds,
        "before": before,
        "after": after,
    }


def judged_scores(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What :func:`fit_pooled` measured of the published scores: after the map, if there is one."""
    measured: Mapping[str, Any] = facts["after"] or facts["before"]
    return measured


def _pool(pieces: Sequence[Piece]) -> Piece:
    return Piece(
        np.concatenate([piece.scores for piece in pieces]),
        np.concatenate([piece.labels for piece in pieces]),
    )


def _halves(piece: Piece) -> list[Piece]:
    """Two pieces with about the same number of frauds."""
    seen = np.cumsum(piece.labels)
    middle = int(np.searchsorted(seen, seen[-1] / 2)) + 1
    return [
        Piece(piece.scores[:middle], piece.labels[:middle]),
        Piece(piece.scores[middle:], piece.labels[middle:]),
    ]


def fit_map(scores: Floats, labels: Labels) -> Calibration:
    """A strictly increasing map from scores in [0, 1] to the share of fraud.

    Isotonic regression gives blocks of equal values. As in centered isotonic regression (Oron and
    Flournoy 2017), each block becomes one knot at its mean score, and the map is linear between
    them: it increases strictly, and where the data has no slope it hardly does. Blocks are merged
    until each but the lowest has ``MIN_BLOCK_FRAUDS`` frauds, and there are not too many of them.
    """
    weights, x, y = _blocks(scores, labels)
    # Half a row of each class more (Jeffreys): no block has a share of 0 or 1.
    shares = (y * weights + 0.5) / (weights + 1.0)
    kept = _apart(x)
    knots_x = np.concatenate([[0.0], x[kept], [1.0]])
    knots_y = _increasing(knots_x, np.concatenate([[0.0], shares[kept], [1.0]]))
    calibration = parse_calibration({"x": knots_x.tolist(), "y": knots_y.tolist()})
    assert calibration is not None  # noqa: S101 - for mypy
    return calibration


def _blocks(scores: Floats, labels: Labels) -> tuple[Floats, Floats, Floats]:
    """Rows, mean score and share of fraud of each block, in ascending order."""
    order = np.argsort(scores, kind="stable")
    ordered, fraud = scores[order], labels[order].astype(np.float64)
    values, first, rows = np.unique(ordered, return_index=True, return_counts=True)
    rates = np.add.reduceat(fraud, first) / rows
    fitted = isotonic_regression(rates, sample_weight=rows.astype(np.float64))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(fitted) > 0]))
    weights = np.add.reduceat(rows, starts).astype(np.float64)
    sums = np.add.reduceat(values * rows, starts)
    frauds = np.add.reduceat(rates * rows, starts)
    groups = _groups(frauds)
    weights, sums, frauds = (np.add.reduceat(each, groups) for each in (weights, sums, frauds))
    return weights, sums / weights, frauds / weights


def _groups(frauds: Floats) -> NDArray[np.int64]:
    """The first block of each group of blocks to merge, formed from the highest score down."""
    wanted = max(MIN_BLOCK_FRAUDS, frauds.sum() / (MAX_KNOTS - 3))
    starts, count = [], 0.0
    for block in range(len(frauds) - 1, -1, -1):
        count += frauds[block]
        if count >= wanted:
            starts.append(block)
            count = 0.0
    # What is left below the lowest group is a group with fewer frauds.
    return np.array(sorted({0, *starts}), np.int64)


def _apart(x: Floats) -> list[int]:
    """The knots that are far enough from 0, from 1 and from each other."""
    kept, last = [], 0.0
    for i, value in enumerate(x.tolist()):
        if value - last > _MIN_GAP and 1 - value > _MIN_GAP:
            kept.append(i)
            last = value
    return kept


def _increasing(x: Floats, y: Floats) -> Floats:
    """The values, changed as little as a slope of at least ``MIN_SLOPE`` everywhere needs."""
    rest = y - MIN_SLOPE * x
    rest = np.minimum(np.maximum.accumulate(rest), 1 - MIN_SLOPE)
    out = rest + MIN_SLOPE * x
    out[0], out[-1] = 0.0, 1.0
    return out


def measure_calibration(scores: Floats, labels: Labels) -> dict[str, Any]:
    """Brier score, log loss, expected calibration error, and the reliability table.

    The table has a bin for each range of quantiles of the score. The calibration error is the mean
    distance between mean score and share of fraud, weighted by rows.
    """
    order = np.argsort(scores, kind="stable")
    ends = (np.array(_QUANTILES) * len(order)).round().astype(int)
    table, error = [], 0.0
    for first, last in itertools.pairwise(ends.tolist()):
        rows = order[first:last]
        if len(rows):
            mean, frauds = float(scores[rows].mean()), int(labels[rows].sum())
            table.append({"rows": len(rows), "mean_score": mean, "frauds": frauds})
            error += abs(mean * len(rows) - frauds)
    return {
        "rows": len(labels),
        "frauds": int(labels.sum()),
        "brier": float(np.mean((scores - labels) ** 2)),
        "log_loss": log_loss(scores, labels),
        "expected_calibration_error": error / len(labels),
        "reliability": table,
    }
