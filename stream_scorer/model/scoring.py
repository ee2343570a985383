"""The one scoring function: stream, ``/predict`` and the trainer's evaluation call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_COLUMNS, TEXT_INDEX
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.kernel import sigmoid

REASONS: Final = 5
"""Reasons a flagged transaction gets at most."""

_SHOWN_CHARS: Final = 200  # of a string value in a reason
_SHOWN_DECIMALS: Final = 6  # the finest the columns have
_MIN_PLAIN: Final = 1e-3  # smaller, and six decimals would leave too few digits
_MAX_PLAIN: Final = 1e15  # larger, and a double's digits end before the decimal point


class Decision(IntEnum):
    """What to do with a transaction; the values are the contract's enum positions."""

    APPROVE = 0
    REVIEW = 1
    BLOCK = 2


class Reason(NamedTuple):
    """One feature that pushed a score up: its name, its value as text, its push (log-odds)."""

    feature: str
    value: str | None
    contribution: float


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a batch by one model version.

    ``raw`` (log-odds) and ``scores`` (0 to 1) are float64 ``[n]``, ``decisions`` uint8 ``[n]``,
    ``reasons`` maps the rows that are flagged to theirs, strongest first.
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
    """Score a batch; a row's result depends on that row and the bundle alone."""
    matrix = bundle.features.transform(batch)
    raw = bundle.predictor.raw(matrix)
    scores = np.empty(len(raw))
    sigmoid(raw, scores)
    thresholds = bundle.thresholds
    decisions = (scores >= thresholds.review).astype(np.uint8)
    decisions[scores >= thresholds.block] = Decision.BLOCK
    rows = np.flatnonzero(decisions)
    return Scores(
        bundle.version, raw, scores, decisions, explain(batch, bundle, matrix, rows.tolist())
    )


def explain(
    batch: TransactionBatch, bundle: Bundle, matrix: NDArray[np.float64], rows: Sequence[int]
) -> dict[int, tuple[Reason, ...]]:
    """Reasons of some rows by attribution along the decision path."""
    if not rows:
        return {}
    contributions = bundle.predictor.contributions(np.ascontiguousarray(matrix[list(rows)]))
    return _strongest(batch, bundle, matrix, rows, contributions)


def shap_reasons(
    batch: TransactionBatch, bundle: Bundle, rows: Sequence[int]
) -> dict[int, tuple[Reason, ...]]:
    """Reasons of some rows by exact TreeSHAP; up to 0.4 s a row with a heavy model."""
    if not rows:
        return {}
    matrix = bundle.features.transform(batch)
    contributions = bundle.reference.contributions(np.ascontiguousarray(matrix[list(rows)]))
    return _strongest(batch, bundle, matrix, rows, contributions)


def _strongest(
    batch: TransactionBatch,
    bundle: Bundle,
    matrix: NDArray[np.float64],
    rows: Sequence[int],
    contributions: NDArray[np.float64],
) -> dict[int, tuple[Reason, ...]]:
    names = bundle.features.names
    found: dict[int, tuple[Reason, ...]] = {}
    order = _largest(contributions)
    pushes = np.take_along_axis(contributions, order, axis=1)
    ranked = zip(rows, order.tolist(), pushes.tolist(), strict=True)
    for row, features, values in ranked:
        found[row] = tuple(
            Reason(names[f], _shown(batch, matrix, row, f, names[f]), push)
            for f, push in zip(features, values, strict=True)
            if push > 0
        )
    return found


def _largest(contributions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Columns of each row's largest values, the largest first; ties in column order.

    A full sort of every row would cost more than the attribution itself. A row is partitioned by
    itself, so its result does not depend on the batch.
    """
    kth = min(REASONS, contributions.shape[1])
    some = np.argpartition(-contributions, kth - 1, axis=1)[:, :kth]
    some.sort(axis=1)
    values = np.take_along_axis(contributions, some, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _shown(
    batch: TransactionBatch, matrix: NDArray[np.float64], row: int, feature: int, name: str
) -> str | None:
    """A feature's value as a person would read it: texts as sent, numbers without a tail."""
    if feature >= len(NUMBER_COLUMNS) and name in TEXT_INDEX:
        text = batch.string(row, TEXT_INDEX[name])
        return text if text is None or len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    value = float(matrix[row, feature])
    if value != value:
        return None
    if value.is_integer() and abs(value) < _MAX_PLAIN:
        return str(int(value))
    if _MIN_PLAIN <= abs(value) < _MAX_PLAIN:
        return f"{value:.{_SHOWN_DECIMALS}f}".rstrip("0").rstrip(".")
    return f"{value:.6g}"
