"""The flags of ``fraud-trainer train`` that say how thresholds are chosen."""

from __future__ import annotations

import argparse
from typing import Final

from trainer.fitting.decisions import DEFAULT_REVIEW_BUDGET, Costs, DecisionPlan
from trainer.fitting.plan import WrongUsageError

AMOUNT: Final = "amount"


def parse_fraud_loss(text: str) -> float | str:
    """``amount``, or a number."""
    if text == AMOUNT:
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'amount' nor a number: use amount for the transaction's amount, "
            "or a sum such as 120"
        ) from None


def make_decisions(arguments: argparse.Namespace) -> DecisionPlan:
    """The requirements on thresholds from the flags.

    Raises:
        WrongUsageError: a flag needs another one.
    """
    costs = _costs(arguments)
    budget, capacity = arguments.review_budget, arguments.capacity_per_day
    if budget is None and costs is None and capacity is None:
        budget = DEFAULT_REVIEW_BUDGET
    return DecisionPlan(
        review_budget=budget,
        block_precision=arguments.block_precision,
        costs=costs,
        capacity_per_day=capacity,
    )


def _costs(arguments: argparse.Namespace) -> Costs | None:
    loss = arguments.fraud_loss
    if arguments.review_cost is None:
        for flag, value in (("--fraud-loss", loss), ("--block-cost", arguments.block_cost)):
            if value is not None:
                raise WrongUsageError(
                    f"{flag} {value} needs --review-cost: thresholds by cost weigh what a missed "
                    "fraud costs against what a review costs"
                )
        return None
    fixed = None if loss in (None, AMOUNT) else float(loss)
    return Costs(arguments.review_cost, fixed, arguments.block_cost)
