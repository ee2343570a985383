"""The flags of ``train`` and ``import`` that say how thresholds are chosen."""

from __future__ import annotations

import argparse
from typing import Final

from trainer.fitting.decisions import DEFAULT_REVIEW_BUDGET, Costs, DecisionPlan
from trainer.fitting.plan import GatePlan, WrongUsageError

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


def add_max_slowdown(parser: argparse.ArgumentParser) -> None:
    """``--max-slowdown``."""
    plan = GatePlan()
    parser.add_argument(
        "--max-slowdown", type=float, default=plan.max_slowdown, metavar="X",
        help="refuse a model that takes more than X times as long as the champion to score a row "
        f"(default {plan.max_slowdown:g})",
    )  # fmt: skip


def add_threshold_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that :func:`trainer.commands.flags.decisions.make_decisions` reads."""
    plan = DecisionPlan()
    flags = parser.add_argument_group(
        "thresholds", "by review budget and block precision, or by cost"
    )
    flags.add_argument(
        "--review-budget", type=float, metavar="X",
        help="share of rows that may be flagged (default "
        f"{plan.review_budget}, and no limit with --capacity-per-day or --review-cost)",
    )  # fmt: skip
    flags.add_argument(
        "--capacity-per-day", type=float, metavar="N",
        help="most reviews a day, on average over the evaluation rows",
    )  # fmt: skip
    flags.add_argument(
        "--block-precision", type=float, default=plan.block_precision, metavar="X",
        help=f"minimum precision of blocked rows (default {plan.block_precision})",
    )  # fmt: skip
    flags.add_argument(
        "--review-cost", type=float, metavar="X",
        help="what a review costs, in the currency of the amounts: review where it saves the most",
    )  # fmt: skip
    flags.add_argument(
        "--fraud-loss", type=parse_fraud_loss, metavar="amount|X",
        help="what a missed fraud costs: the transaction's amount, or X each (default amount)",
    )  # fmt: skip
    flags.add_argument(
        "--block-cost", type=float, metavar="X",
        help="what it costs to block a legitimate transaction: block where that is cheaper than "
        "to review, whatever --block-precision is",
    )  # fmt: skip


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
