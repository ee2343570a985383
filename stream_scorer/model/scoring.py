"""The one scoring function: stream, ``/predict`` and the trainer's evaluation call it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.calibration import to_scores
from stream_scorer.model.forest.kernel import find_largest
from stream_scorer.model.forest.predictor import Predictor

REASONS: Final = 5
"""The most reasons a flagged transaction gets."""

LISTED: Final = 50
"""The most contributions of an :class:`Attribution`."""

_LEAST_LISTED: Final = 0.005  # in log-odds: what two decimals can show
_SHOWN_CHARS: Final = 200  # of a string value in a reason
_SHOWN_DECIMALS: Final = 6  # no column has more
_MIN_PLAIN: Final = 1e-3  # below this, six decimals would leave too few digits
_MAX_PLAIN: Final = 1e15  # above this, a double has no digits after the decimal point


class Decision(IntEnum):
    """What to do with a transaction; the values are the contract's enum positions."""

    APPROVE = 0
    REVIEW = 1
    BLOCK = 2


class Reason(NamedTuple):
    """A feature that raised a score: its name, its value as text, its contribution (log-odds)."""

    feature: str
    value: str | None
    contribution: float


class Attribution(NamedTuple):
    """What one row's raw score is made of, up and down.

    ``base`` is the expected raw score, ``contributions`` are the features that matter, the largest
    in size first, and ``rest`` is the sum of all others: together they are the raw score ``raw``.
    ``reasons`` are the strongest of those that raised it, as in :class:`Scores`.
    """

    base: float
    contributions: tuple[Reason, ...]
    rest: float
    raw: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a batch by one model version.

    ``raw`` (log-odds) and ``scores`` (0 to 1) are float64 ``[n]``, ``decisions`` is uint8 ``[n]``.
    A score is the probability of fraud if the bundle has a calibration map.
    ``reasons`` maps each flagged row to its reasons, strongest first.
    """

    version: str
    raw: NDArray[np.float64]
    scores: NDArray[np.float64]
    decisions: NDArray[np.uint8]
    reasons: dict[int, tuple[Reason, ...]]

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Rows whose decision is not APPROVE."""
        return np.not_equal(self.decisions, Decision.APPROVE)


def score(batch: TransactionBatch, bundle: Bundle) -> Scores:
    """Score a batch; a row's result depends only on that row and the bundle."""
    return score_matrix(batch, bundle, bundle.features.transform(batch))


def score_matrix(batch: TransactionBatch, bundle: Bundle, matrix: NDArray[np.float64]) -> Scores:
    """Score a batch whose features ``matrix`` are computed already."""
    thresholds, calibration = bundle.thresholds, bundle.calibration
    raw, rows, contributions = bundle.predictor.explained(
        matrix, lambda raw: to_scores(raw, calibration) >= min(thresholds.review, thresholds.block)
    )
    scores = to_scores(raw, calibration)
    decisions = (scores >= thresholds.review).astype(np.uint8)
    decisions[scores >= thresholds.block] = Decision.BLOCK
    reasons = _strongest(batch, bundle, matrix, rows, contributions)
    return Scores(bundle.version, raw, scores, decisions, reasons)


def attribute(
    batch: TransactionBatch, bundle: Bundle, raw: NDArray[np.float64], explainer: Predictor
) -> list[Attribution]:
    """What each row's raw score is made of.

    Args:
        batch: the rows.
        bundle: that scored them.
        raw: their raw scores.
        explainer: ``bundle.predictor`` (along the decision path, as the stream does), or
            ``bundle.reference`` (exact TreeSHAP, up to 0.4 s per row with a large model).
    """
    matrix = bundle.features.transform(batch)
    rows = np.arange(len(batch), dtype=np.int64)
    contributions, base = explainer.contributions(matrix), explainer.base
    reasons = _strongest(batch, bundle, matrix, rows, contributions)
    names, texts = bundle.features.names, bundle.features.text_columns
    found = []
    for row, raw_score in enumerate(raw.tolist()):
        own = contributions[row]
        largest = np.argsort(-np.abs(own), kind="stable")[:LISTED]
        listed = tuple(
            Reason(names[i], _shown(batch, row, texts[i], float(matrix[row, i])), float(own[i]))
            for i in largest[np.abs(own[largest]) >= _LEAST_LISTED].tolist()
        )
        rest = raw_score - base - math.fsum(reason.contribution for reason in listed)
        found.append(Attribution(base, listed, rest, raw_score, reasons[row]))
    return found


def path_reasons(
    batch: TransactionBatch, bundle: Bundle, rows: Sequence[int]
) -> dict[int, tuple[Reason, ...]]:
    """Reasons of some rows as :func:`score` gives them, whether they are flagged or not."""
    if not rows:
        return {}
    matrix, some = bundle.features.transform(batch), np.array(rows, np.int64)
    contributions = bundle.predictor.contributions(np.ascontiguousarray(matrix[some]))
    return _strongest(batch, bundle, matrix, some, contributions)


def _strongest(
    batch: TransactionBatch,
    bundle: Bundle,
    matrix: NDArray[np.float64],
    rows: NDArray[np.int64],
    contributions: NDArray[np.float64],
) -> dict[int, tuple[Reason, ...]]:
    """The reasons of each row in ``rows``, from ``contributions`` ``[rows, features]``."""
    if not len(rows):
        return {}
    names, texts = bundle.features.names, bundle.features.text_columns
    columns = np.empty((len(rows), min(REASONS, contributions.shape[1])), np.int64)
    find_largest(contributions, columns)
    pushes = np.take_along_axis(contributions, columns, axis=1).tolist()
    values = matrix[rows[:, np.newaxis], columns].tolist()
    found: dict[int, tuple[Reason, ...]] = {}
    for row, *of_row in zip(rows.tolist(), columns.tolist(), values, pushes, strict=True):
        found[row] = tuple(
            Reason(names[feature], _shown(batch, row, texts[feature], value), push)
            for feature, value, push in zip(*of_row, strict=True)
            if push > 0
        )
    return found


def _shown(batch: TransactionBatch, row: int, column: int | None, value: float) -> str | None:
    """A feature's value for people: text as sent, numbers without trailing zeros."""
    if column is not None:
        text = batch.string(row, column)
        return text if text is None or len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    if value != value:
        return None
    if value.is_integer() and abs(value) < _MAX_PLAIN:
        return str(int(value))
    if _MIN_PLAIN <= abs(value) < _MAX_PLAIN:
        return f"{value:.{_SHOWN_DECIMALS}f}".rstrip("0").rstrip(".")
    return f"{value:.6g}"
