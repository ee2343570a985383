"""Chooses the scores at which transactions are reviewed and blocked.

Without costs, people name a review budget and the precision that a block must reach. With costs,
the thresholds are those at which decisions save the most money on rows that the model did not
learn from (:mod:`trainer.evaluation.money`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.contracts import AMOUNT, NUMBER_INDEX
from stream_scorer.model.bundle import Thresholds
from trainer.data.ingest import Part
from trainer.evaluation.measures import Floats, Labels, Ranking, rank, wilson_lower
from trainer.evaluation.money import Money, saving_curve
from trainer.fitting.decisions import DecisionPlan

NEVER: Final = math.nextafter(1.0, 2.0)
"""As a block threshold: above all scores. Raw scores above 37 give a score of exactly 1."""

DAY_SECONDS: Final = 86_400
_MIN_DAYS: Final = 1 / 24


@dataclass(frozen=True, slots=True)
class EvaluationRows:
    """Rows that the model did not learn from, in any order; every array has the shape ``[n]``.

    Attributes:
        scores: the model's scores.
        labels: 1 is fraud.
        amounts: transaction amounts.
        times: seconds.
        name: what the rows are called in the metadata.
    """

    scores: Floats
    labels: Labels
    amounts: Floats
    times: NDArray[np.int64]
    name: str = "validation"

    @property
    def days(self) -> float:
        """The days that the rows cover; a pause of more than a day is not counted."""
        steps = np.diff(np.sort(self.times))
        return max(float(steps[steps <= DAY_SECONDS].sum()) / DAY_SECONDS, _MIN_DAYS)


def evaluation_rows(part: Part, scores: Floats, name: str = "validation") -> EvaluationRows:
    """The rows of a part with their scores."""
    amounts = part.batch.numbers[:, NUMBER_INDEX[AMOUNT]]
    return EvaluationRows(scores, part.labels, amounts, part.batch.times, name)


def choose_thresholds(
    rows: EvaluationRows, plan: DecisionPlan
) -> tuple[Thresholds, dict[str, Any]]:
    """Thresholds, how they were chosen, and what they mean on the rows they were chosen on.

    ``review`` is the lowest score within the limits: the budget limits the share of rows that are
    flagged (reviewed and blocked together), the capacity the mean number of reviews a day. With
    costs, it is the score within the limits at which the saving is largest.

    ``block`` is the lowest score at which the lower confidence bound of the precision reaches the
    required precision. If no score does, it is the lowest score at which the precision itself
    reaches it over enough rows. Else nothing is blocked. With a block cost, it is the score from
    which on blocking saves the most, compared with reviewing. The share of legitimate rows is then
    taken at its upper confidence bound: a few frauds on top do not prove that there are no others.
    """
    ranking = rank(rows.scores, rows.labels)
    money = None if plan.costs is None else Money.of(rows.scores, rows.labels, rows.amounts, plan)
    if plan.costs is not None and plan.costs.block is not None:
        blocks = _blocks_by_cost(ranking, plan, plan.costs.review, plan.costs.block)
    else:
        blocks = _blocks_by_precision(ranking, plan)
    savings = None if money is None else money.reviewing + blocks.gains
    at, review_method = _review(ranking, plan, savings, blocks, rows.days)
    if at is None:
        review, block = float(np.nextafter(ranking.scores[0], np.inf)), NEVER
    else:
        review, block = float(ranking.scores[ranking.ends[at]]), float(blocks.scores[at])
    thresholds = Thresholds(review, max(review, block))
    facts = {
        "split": rows.name,
        "review_budget": plan.review_budget,
        "review_method": review_method,
        "block_precision": plan.block_precision,
        "block_method": blocks.method,
        "capacity_per_day": plan.capacity_per_day,
        **describe_decisions(rows, thresholds),
    }
    if money is not None and savings is not None:
        facts["money"] = money.facts(thresholds, rows.days)
        facts["saving_curve"] = saving_curve(ranking.scores[ranking.ends], savings, review)
    return thresholds, facts


def describe_decisions(rows: EvaluationRows, thresholds: Thresholds) -> dict[str, Any]:
    """What thresholds mean on some rows, as plain data; days are days of ``TransactionDT``."""
    is_flagged = rows.scores >= thresholds.review
    is_blocked = rows.scores >= thresholds.block
    flagged, frauds = int(is_flagged.sum()), int(rows.labels.sum())
    caught = int(rows.labels[is_flagged].sum())
    day = rows.times // DAY_SECONDS
    busiest = np.unique(day[is_flagged & ~is_blocked], return_counts=True)[1]
    return {
        "rows": len(rows.scores),
        "days": rows.days,
        "flagged_share": float(np.mean(is_flagged)),
        "blocked_share": float(np.mean(is_blocked)),
        "alerts_per_day": flagged / rows.days,
        "reviews_per_day": int((is_flagged & ~is_blocked).sum()) / rows.days,
        "reviews_on_busiest_day": int(busiest.max(initial=0)),
        "precision": caught / flagged if flagged else None,
        "recall": caught / frauds if frauds else None,
    }


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The best block threshold for each review threshold; arrays have a value a distinct score.

    ``counts`` are rows that are blocked, ``gains`` what blocking them saves over reviewing them.
    """

    scores: Floats
    counts: NDArray[np.int64]
    gains: Floats
    method: str


def _review(
    ranking: Ranking, plan: DecisionPlan, savings: Floats | None, blocks: _Blocks, days: float
) -> tuple[int | None, str]:
    """The position of the review threshold among the distinct scores, and how it was chosen."""
    is_allowed = np.ones(len(ranking.ends), np.bool_)
    limits = []
    if plan.review_budget is not None:
        is_allowed &= ranking.taken <= int(len(ranking.labels) * plan.review_budget)
        limits.append("the budget")
    if plan.capacity_per_day is not None:
        is_allowed &= ranking.taken - blocks.counts <= plan.capacity_per_day * days
        limits.append("the capacity")
    within = " and ".join(limits)
    allowed = np.flatnonzero(is_allowed)
    if not len(allowed):
        return None, f"nothing is flagged: no score is within {within}"
    if savings is None:
        return int(allowed[-1]), f"most rows within {within}"
    best = int(allowed[np.argmax(savings[allowed])])
    if savings[best] <= 0:
        return None, "nothing is flagged: at no score do reviews save more than they cost"
    return best, f"largest saving within {within}" if within else "largest saving"


def _blocks_by_precision(ranking: Ranking, plan: DecisionPlan) -> _Blocks:
    """One block threshold, whatever the review threshold is."""
    block, method = _precise(ranking, plan)
    blocked = int(np.count_nonzero(ranking.scores >= block))
    n = len(ranking.ends)
    return _Blocks(np.full(n, block), np.minimum(ranking.taken, blocked), np.zeros(n), method)


def _precise(ranking: Ranking, plan: DecisionPlan) -> tuple[float, str]:
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


def _blocks_by_cost(
    ranking: Ranking, plan: DecisionPlan, review_cost: float, block_cost: float
) -> _Blocks:
    """For each review threshold, the block threshold at or above it that saves the most."""
    precision = wilson_lower(ranking.hits, ranking.taken, plan.confidence)
    gains = ranking.taken * (review_cost - block_cost * (1 - precision))
    best = np.maximum.accumulate(gains)
    at = np.maximum.accumulate(np.where(gains == best, np.arange(len(gains)), 0))
    pays = best > 0
    method = f"where blocking costs less than reviewing with {plan.confidence:.0%} confidence"
    if not pays.any():
        method = f"nothing is blocked: no score is {method}"
    return _Blocks(
        np.where(pays, ranking.scores[ranking.ends][at], NEVER),
        np.where(pays, ranking.taken[at], 0),
        np.where(pays, best, 0.0),
        method,
    )
