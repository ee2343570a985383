"""The requirements on thresholds: by review budget, by block precision, or by cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

DEFAULT_REVIEW_BUDGET = 0.02

BY_REFITS: Final = "trial refits"
BY_FOLDS: Final = "the models of the windows"
"""What scored the rows that thresholds were chosen on, as the metadata names it."""

Rule = tuple[str, object, bool, str]
"""A flag, its value, whether the value is allowed, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What decisions cost, all in the currency of the amounts.

    Attributes:
        review: what one review costs.
        fraud_loss: what a missed fraud costs; None: the transaction's amount.
        block: what it costs to block a legitimate transaction; None: the block threshold does not
            depend on costs.
    """

    review: float
    fraud_loss: float | None = None
    block: float | None = None


@dataclass(frozen=True, slots=True)
class DecisionPlan:
    """The requirements on thresholds.

    Attributes:
        review_budget: maximum share of transactions that may be flagged, that is reviewed or
            blocked; None: no such limit.
        block_precision: minimum precision among transactions blocked without a review.
        confidence: one-sided confidence that the precision is that high; also of a block threshold
            by cost.
        min_blocked: minimum number of evaluation rows for an observed precision, if no score
            reaches it with confidence.
        costs: None: thresholds do not depend on costs.
        capacity_per_day: maximum number of reviews a day, on average; None: no such limit.
    """

    review_budget: float | None = DEFAULT_REVIEW_BUDGET
    block_precision: float = 0.9
    confidence: float = 0.9
    min_blocked: int = 10
    costs: Costs | None = None
    capacity_per_day: float | None = None

    def rules(self) -> Iterator[Rule]:
        """The rules that the values must obey."""
        budget, costs, capacity = self.review_budget, self.costs, self.capacity_per_day
        is_share = budget is None or 0 < budget < 1
        yield "--review-budget", budget, is_share, "a share in (0, 1)"
        is_share = 0 < self.block_precision < 1
        yield "--block-precision", self.block_precision, is_share, "a share in (0, 1)"
        is_limited = not (budget is None and costs is None and capacity is None)
        needed = "given unless --capacity-per-day or --review-cost is"
        yield "--review-budget", budget, is_limited, needed
        given = [("--capacity-per-day", capacity)]
        if costs is not None:
            given += [("--review-cost", costs.review), ("--fraud-loss", costs.fraud_loss)]
            given.append(("--block-cost", costs.block))
        for flag, value in given:
            is_good = value is None or (math.isfinite(value) and value > 0)
            yield flag, value, is_good, "a number above 0"
