"""What decisions save and cost on labelled rows.

The model is deliberately small. Approving a fraud loses its amount (or a fixed sum). A review costs
a fixed sum and always finds out whether it is a fraud. A block costs nothing if it is a fraud, and
a fixed sum if it is not, where that sum is given. Savings are compared with approving everything.
The expected cost of a decision is the rule of cost-sensitive classification (Elkan 2001, "The
foundations of cost-sensitive learning"), here with costs that differ by row and with observed
frauds in place of probabilities, so that it does not rely on calibrated scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from schemas.contracts import is_amount
from stream_scorer.model.bundle import Thresholds
from trainer.evaluation.measures import Floats, Labels
from trainer.fitting.decisions import Costs, DecisionPlan

CURVE_POINTS: Final = 200
_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Money:
    """Sums over the rows at or above each distinct score, the highest score first.

    Attributes:
        scores: the rows' scores, shape ``[n]``.
        labels: 1 is fraud, shape ``[n]``.
        losses: what each row costs if it is a fraud and approved, shape ``[n]``.
        costs: the costs.
        reviewing: what reviewing all rows from a distinct score on saves, shape ``[k]``.
    """

    scores: Floats
    labels: Labels
    losses: Floats
    costs: Costs
    reviewing: Floats

    @classmethod
    def of(cls, scores: Floats, labels: Labels, amounts: Floats, plan: DecisionPlan) -> Money:
        """The sums for a plan with costs; an amount that is negative or missing loses nothing."""
        costs = plan.costs
        if costs is None:
            raise ValueError("the plan has no costs")
        fixed = costs.fraud_loss
        stated = np.where(is_amount(amounts), np.maximum(amounts, 0.0), 0.0)
        losses = stated if fixed is None else np.full(len(scores), fixed)
        losses = losses * (labels == 1)
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        taken = (ends + 1).astype(float)
        reviewing = np.cumsum(losses[order])[ends] - costs.review * taken
        return cls(scores, labels, losses, costs, reviewing)

    def facts(self, thresholds: Thresholds, days: float) -> dict[str, Any]:
        """What thresholds save and cost on the rows, as plain data.

        ``fraud_loss`` is lost if everything is approved. ``saved`` is the part of it that is
        caught, ``missed`` the rest. ``net_saving`` is ``saved`` minus the costs; without a block
        cost it leaves out what blocked legitimate transactions cost.
        """
        is_flagged = self.scores >= thresholds.review
        is_blocked = self.scores >= thresholds.block
        total, saved = float(self.losses.sum()), float(self.losses[is_flagged].sum())
        reviews = int((is_flagged & ~is_blocked).sum())
        wrong = int((self.labels[is_blocked] == 0).sum())
        block_cost = None if self.costs.block is None else wrong * self.costs.block
        net = saved - reviews * self.costs.review - (block_cost or 0.0)
        return {
            "review_cost": self.costs.review,
            "fraud_loss_each": "amount" if self.costs.fraud_loss is None else self.costs.fraud_loss,
            "block_cost": self.costs.block,
            "fraud_loss": total,
            "saved": saved,
            "missed": total - saved,
            "reviews": reviews,
            "reviews_cost": reviews * self.costs.review,
            "blocked_legitimate": wrong,
            "blocked_legitimate_cost": block_cost,
            "net_saving": net,
            "net_saving_per_day": net / days,
        }


def saving_curve(points: Floats, savings: Floats, chosen: float) -> list[list[float]]:
    """``[threshold, saving]`` for thresholds in descending order.

    At most ``CURVE_POINTS`` points, dense at the top, where the decisions are made; ``chosen`` is
    among them if it is one of the ``points``.
    """
    at = np.geomspace(1, len(points), CURVE_POINTS - 1).round().astype(np.int64) - 1
    at = np.union1d(at, np.flatnonzero(points == chosen))
    return [[_short(x), _short(y)] for x, y in zip(points[at], savings[at], strict=True)]


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
