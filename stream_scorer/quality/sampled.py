"""What the random lane says: each of its rows stands for many that were not flagged. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.contracts import is_amount
from stream_scorer.quality.counts import VersionCounts
from stream_scorer.quality.estimates import bootstrap
from stream_scorer.quality.figure import Figure, unknown, weighted_share
from stream_scorer.quality.rows import APPROVE, Flags, Floats, Integers, LabelledRows

NO_SAMPLE: Final = "no reviewed transaction is of the random lane (REVIEW_SAMPLE_SHARE)"
NO_SAMPLED_FRAUD: Final = "no fraud among the reviewed transactions of the random lane"
NO_SAMPLED_FRAUD_OF_IT: Final = (
    "no fraud of this product among the reviewed transactions of the random lane"
)
NO_FLAGGED: Final = "flagged transactions were not reviewed"

_SEED: Final = 20_260_102
_RESAMPLES: Final = 200


def sampled_rows(counts: VersionCounts) -> tuple[LabelledRows, Floats] | str:
    """The rows an analyst decided about, and how many each stands for; or why there is no sample.

    Sampled rows stand for all unflagged scores of the version. One that was chosen at half the
    share stands for twice as many. Reviewed rows stand for all scores with their decision.
    """
    rows = counts.labelled
    rows = rows.take(rows.is_reviewed & (rows.is_flagged | rows.is_sampled))
    is_flagged = rows.is_flagged
    if is_flagged.all():
        return NO_SAMPLE
    if not is_flagged.any() and counts.decisions[1:].any():
        return NO_FLAGGED
    weights = np.zeros(len(rows.scores))
    for decision in range(3):
        mask = rows.decisions == decision
        if not mask.any():
            continue
        each = np.ones(int(mask.sum()))
        if decision == APPROVE:
            shares = rows.shares[mask]
            usual = np.nanmedian(shares) if np.isfinite(shares).any() else 1.0
            each = 1.0 / np.where(np.isfinite(shares), shares, usual)
        weights[mask] = each * counts.decisions[decision] / each.sum()
    _spread_over_unreviewed(counts, rows, weights)
    return rows, weights


def _spread_over_unreviewed(counts: VersionCounts, rows: LabelledRows, weights: Floats) -> None:
    """If only reviews or only blocks were reviewed, these stand for all flagged scores."""
    is_flagged = rows.is_flagged
    all_flagged, reached = float(counts.decisions[1:].sum()), float(weights[is_flagged].sum())
    if reached:
        weights[is_flagged] *= all_flagged / reached


def recall_of(counts: VersionCounts, lowest: int) -> Figure:
    """The share of frauds with at least this decision, with the interval for weighted rows."""
    return recall_in(sampled_rows(counts), lowest)


def recall_in(
    found: tuple[LabelledRows, Floats] | str, lowest: int, product: int | None = None
) -> Figure:
    """The same of rows that :func:`sampled_rows` found, of one product if it is given.

    Sampled and flagged rows state their product.
    """
    if isinstance(found, str):
        return unknown(found)
    rows, weights = found
    is_fraud = rows.analyst == 1
    if product is not None:
        is_fraud &= rows.products == product
    if not is_fraud.any():
        return unknown(NO_SAMPLED_FRAUD if product is None else NO_SAMPLED_FRAUD_OF_IT)
    return weighted_share(rows.decisions[is_fraud] >= lowest, weights[is_fraud], NO_SAMPLED_FRAUD)


def missed_money(counts: VersionCounts) -> Figure:
    """The amount of fraud that was not flagged, estimated from the random lane."""
    found = sampled_rows(counts)
    if isinstance(found, str):
        return unknown(found)
    rows, weights = found
    is_sampled = rows.decisions == APPROVE
    rows, weights = rows.take(is_sampled), weights[is_sampled]
    is_counted: Flags = (rows.analyst == 1) & is_amount(rows.amounts)
    amounts: Floats = np.where(is_counted, rows.amounts, 0.0)
    total = float(weights.sum())

    def estimate(times: Integers) -> float:
        drawn = weights * times
        return float((drawn * amounts).sum() / drawn.sum() * total) if drawn.any() else np.nan

    value = estimate(np.ones(len(weights), np.int64))
    if not is_counted.any():
        return Figure(value, n=len(weights), reason=NO_SAMPLED_FRAUD)
    interval = bootstrap(estimate, len(weights), _SEED, _RESAMPLES)
    low, high = interval if interval is not None else (None, None)
    return Figure(value, low, high, len(weights))
