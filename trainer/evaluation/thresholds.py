"""Chooses the scores at which transactions are reviewed and blocked."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import Thresholds
from trainer.evaluation.measures import Ranking, rank, wilson_lower
from trainer.fitting.plan import DecisionPlan

NEVER: Final = 1.0
"""As a block threshold: only a score of exactly 1 would be blocked."""


def choose_thresholds(
    scores: NDArray[np.float64], labels: NDArray[np.int8], plan: DecisionPlan
) -> tuple[Thresholds, dict[str, Any]]:
    """Thresholds chosen on validation rows, and how they were chosen.

    ``review`` is the lowest score at which no more rows are flagged (reviewed and blocked
    together) than the budget allows. ``block`` is the lowest score at which the lower confidence
    bound of the precision reaches the required precision. If no score does, it is the lowest score
    at which the precision itself reaches it over enough rows. Else nothing is blocked.
    """
    ranking = rank(scores, labels)
    review = _review(ranking, plan.review_budget)
    block, method = _block(ranking, plan)
    block = max(review, block)
    chosen = {
        "split": "validation",
        "review_budget": plan.review_budget,
        "review_method": "most rows within the budget",
        "block_precision": plan.block_precision,
        "block_method": method,
        "flagged_share": float(np.mean(scores >= review)),
        "blocked_share": float(np.mean(scores >= block)),
    }
    return Thresholds(review, block), chosen


def _review(ranking: Ranking, budget: float) -> float:
    allowed = int(len(ranking.labels) * budget)
    fits = np.flatnonzero(ranking.taken <= allowed)
    if len(fits):
        return float(ranking.scores[ranking.ends[fits[-1]]])
    return float(np.nextafter(ranking.scores[0], np.inf))


def _block(ranking: Ranking, plan: DecisionPlan) -> tuple[float, str]:
    wanted = plan.block_precision
    hits, taken = ranking.hits, ranking.taken
    sure = np.flatnonzero(wilson_lower(hits, taken, plan.confidence) >= wanted)
    if len(sure):
        score = float(ranking.scores[ranking.ends[sure[-1]]])
        return score, f"precision at least {wanted:g} with {plan.confidence:.0%} confidence"
    likely = np.flatnonzero((hits / taken >= wanted) & (taken >= plan.min_blocked))
    if len(likely):
        score = float(ranking.scores[ranking.ends[likely[-1]]])
        rows = int(taken[likely[-1]])
        return score, (
            f"precision {wanted:g} observed on {rows} rows, too few for {plan.confidence:.0%} "
            "confidence"
        )
    return NEVER, f"nothing is blocked: no score reaches precision {wanted:g}"
