"""Thresholds by budget, precision, capacity and cost, against plain sums over all choices."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trainer.commands.parser import build_parser
from trainer.commands.summary import describe_choice
from trainer.commands.train_run import make_plan
from trainer.evaluation.money import CURVE_POINTS
from trainer.evaluation.thresholds import (
    DAY_SECONDS,
    NEVER,
    EvaluationRows,
    choose_thresholds,
    describe_decisions,
)
from trainer.fitting.decisions import Costs, DecisionPlan
from trainer.fitting.plan import WrongUsageError

DAYS = 10.0


def make_rows(n: int = 4000, seed: int = 0, steps: int = 0) -> EvaluationRows:
    """Rows over ten days; a fraud rate of 5 %."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.05).astype(np.int8)
    raw = rng.normal(0, 1, n) + 2.5 * labels
    scores = 1 / (1 + np.exp(3 - 1.5 * raw))
    scores = 0.99 * np.round(scores * steps) / steps if steps else scores
    times = np.linspace(0, DAYS * DAY_SECONDS, n).astype(np.int64)
    return EvaluationRows(scores, labels, rng.lognormal(4, 1, n), times)


def by_cost(review: float = 20.0, **more: Any) -> DecisionPlan:
    costs = Costs(review, more.pop("fraud_loss", None), more.pop("block", None))
    return DecisionPlan(**({"review_budget": None, "costs": costs} | more))


NO_BLOCKS: dict[str, Any] = {"block_precision": 0.9999, "min_blocked": 10**6}


def plain_saving(rows: EvaluationRows, review: float, block: float, plan: DecisionPlan) -> float:
    """What two thresholds save, row by row."""
    costs = plan.costs
    assert costs is not None
    saving = 0.0
    for score, label, amount in zip(rows.scores, rows.labels, rows.amounts, strict=True):
        loss = (amount if costs.fraud_loss is None else costs.fraud_loss) * label
        if score >= block:
            saving += loss - (costs.block or 0.0) * (1 - label)
        elif score >= review:
            saving += loss - costs.review
    return float(saving)


@pytest.mark.parametrize("steps", [0, 50, 10, 3])
def test_review_threshold_uses_the_budget_and_never_exceeds_it(steps: int) -> None:
    rows = make_rows(steps=steps)
    thresholds, facts = choose_thresholds(rows, DecisionPlan(review_budget=0.03))
    flagged = float(np.mean(rows.scores >= thresholds.review))
    assert flagged <= 0.03
    assert (facts["review_budget"], facts["flagged_share"]) == (0.03, flagged)
    lower = rows.scores[rows.scores < thresholds.review]
    assert np.mean(rows.scores >= lower.max()) > 0.03


def test_block_threshold_is_the_lowest_with_confident_precision() -> None:
    rows = make_rows(20_000)
    thresholds, chosen = choose_thresholds(rows, DecisionPlan(block_precision=0.8))
    assert thresholds.review <= thresholds.block < NEVER
    assert "precision at least 0.8 with 90% confidence" in chosen["block_method"]
    blocked = rows.scores >= thresholds.block
    assert rows.labels[blocked].mean() > 0.8


def test_block_threshold_falls_back_and_says_so() -> None:
    rows = make_rows()
    _, chosen = choose_thresholds(rows, DecisionPlan(block_precision=0.9, confidence=0.999999))
    assert "too few for" in chosen["block_method"]
    noise = np.random.default_rng(2).random(len(rows.labels))
    thresholds, chosen = choose_thresholds(replace(rows, scores=noise), DecisionPlan())
    assert thresholds.block == NEVER
    assert chosen["block_method"].startswith("nothing is blocked")


@pytest.mark.parametrize("plan", [DecisionPlan(review_budget=0.2), by_cost(review=1.0, block=1e6)])
def test_score_of_exactly_one_is_not_blocked_when_nothing_is(plan: DecisionPlan) -> None:
    rows = make_rows(2000)
    is_certain = np.arange(2000) % 10 == 0  # the fraud rate of all rows
    rows = replace(rows, scores=np.where(is_certain, 1.0, rows.scores * 0.5))
    thresholds, chosen = choose_thresholds(rows, plan)
    assert chosen["block_method"].startswith("nothing is blocked")
    assert chosen["blocked_share"] == 0.0
    assert not (rows.scores >= thresholds.block).any()


@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("fraud_loss", [None, 150.0])
def test_review_threshold_by_cost_saves_most_of_all_thresholds(
    steps: int, fraud_loss: float | None
) -> None:
    rows = make_rows(400, steps=steps)
    plan = by_cost(fraud_loss=fraud_loss, **NO_BLOCKS)
    thresholds, facts = choose_thresholds(rows, plan)
    assert thresholds.block == NEVER
    savings = {t: plain_saving(rows, t, 2.0, plan) for t in np.unique(rows.scores)}
    assert thresholds.review == max(savings, key=lambda t: savings[t])
    assert facts["money"]["net_saving"] == pytest.approx(savings[thresholds.review])
    assert facts["money"]["net_saving_per_day"] == pytest.approx(savings[thresholds.review] / DAYS)


def test_thresholds_by_cost_are_the_best_pair_of_all_pairs() -> None:
    rows = make_rows(250, seed=5, steps=40)
    plan = by_cost(review=8.0, block=60.0, confidence=0.5)
    thresholds, facts = choose_thresholds(rows, plan)
    every = [*np.unique(rows.scores), 2.0]
    best = max(plain_saving(rows, r, b, plan) for r in every for b in every if b >= r)
    assert plain_saving(rows, thresholds.review, thresholds.block, plan) == pytest.approx(best)
    assert facts["money"]["net_saving"] == pytest.approx(best)
    assert thresholds.review < thresholds.block < NEVER
    assert facts["block_method"] == "where blocking costs less than reviewing with 50% confidence"


def test_dear_reviews_and_cheap_blocks_leave_nothing_to_review() -> None:
    rows = make_rows(2000)
    thresholds, facts = choose_thresholds(rows, by_cost(review=1000.0, block=1.0))
    assert thresholds.review == thresholds.block
    assert facts["reviews_per_day"] == 0.0
    assert facts["money"]["net_saving"] > 0


def test_dear_blocks_block_nothing_even_if_the_highest_scores_are_all_frauds() -> None:
    rows = make_rows(2000)
    assert rows.labels[np.argsort(-rows.scores)[:10]].all()
    thresholds, facts = choose_thresholds(rows, by_cost(block=1e6))
    assert thresholds.block == NEVER
    assert facts["block_method"].startswith("nothing is blocked: no score is where blocking costs")


def test_reviews_that_never_pay_flag_nothing_and_say_so() -> None:
    rows = make_rows(2000)
    thresholds, facts = choose_thresholds(rows, by_cost(review=1e6))
    assert not (rows.scores >= thresholds.review).any()
    assert facts["review_method"] == (
        "nothing is flagged: at no score do reviews save more than they cost"
    )
    assert facts["precision"] is None
    assert facts["money"]["net_saving"] == 0.0


@pytest.mark.parametrize("costs", [None, Costs(1.0)])
def test_capacity_limits_the_reviews_a_day_and_not_the_blocks(costs: Costs | None) -> None:
    rows = make_rows(20_000)
    plan = DecisionPlan(review_budget=None, costs=costs, capacity_per_day=30.0, block_precision=0.8)
    thresholds, facts = choose_thresholds(rows, plan)
    reviewed = (rows.scores >= thresholds.review) & (rows.scores < thresholds.block)
    assert 29 * DAYS < reviewed.sum() <= 30 * DAYS
    assert facts["reviews_per_day"] == pytest.approx(reviewed.sum() / DAYS)
    assert facts["alerts_per_day"] > 30
    assert facts["reviews_on_busiest_day"] >= facts["reviews_per_day"]


def test_budget_and_capacity_together_are_both_kept() -> None:
    rows = make_rows(20_000)
    for budget, capacity in ((0.001, 1000.0), (0.5, 1.0)):
        plan = DecisionPlan(review_budget=budget, capacity_per_day=capacity)
        _, facts = choose_thresholds(rows, plan)
        assert 0 < facts["flagged_share"] <= budget
        assert facts["reviews_per_day"] <= capacity
        assert facts["review_method"] == "most rows within the budget and the capacity"


def test_capacity_for_less_than_one_review_flags_nothing() -> None:
    rows = make_rows(2000)
    thresholds, facts = choose_thresholds(
        rows, DecisionPlan(review_budget=None, capacity_per_day=0.01, **NO_BLOCKS)
    )
    assert not (rows.scores >= thresholds.review).any()
    assert facts["review_method"] == "nothing is flagged: no score is within the capacity"


def test_days_leave_out_pauses_such_as_those_between_folds() -> None:
    day = DAY_SECONDS
    times = np.array([0, day // 2, day, 50 * day, 51 * day], np.int64)
    rows = replace(make_rows(5), times=times[::-1])
    assert rows.days == 2.0


def test_rows_of_one_moment_count_as_an_hour_and_not_as_no_time() -> None:
    assert replace(make_rows(5), times=np.full(5, 7, np.int64)).days == 1 / 24


def test_figures_of_the_choice_are_counted_on_the_rows() -> None:
    rows = EvaluationRows(
        scores=np.array([0.9, 0.8, 0.7, 0.2, 0.1]),
        labels=np.array([1, 1, 0, 1, 0], np.int8),
        amounts=np.array([10.0, 20.0, 30.0, 40.0, -5.0]),
        times=np.array([0, 3600, 2 * DAY_SECONDS - 7200, DAY_SECONDS, 2 * DAY_SECONDS], np.int64),
    )
    plan = by_cost(review=5.0, block_precision=0.99, confidence=0.5, min_blocked=1)
    thresholds, facts = choose_thresholds(rows, plan)
    assert (thresholds.review, thresholds.block) == (0.2, 0.8)
    assert describe_decisions(rows, thresholds) == {
        "rows": 5,
        "days": 2.0,
        "flagged_share": 0.8,
        "blocked_share": 0.4,
        "alerts_per_day": 2.0,
        "reviews_per_day": 1.0,
        "reviews_on_busiest_day": 2,
        "precision": 0.75,
        "recall": 1.0,
    }
    money = facts["money"]
    assert (money["fraud_loss"], money["saved"], money["missed"]) == (70.0, 70.0, 0.0)
    assert (money["reviews"], money["reviews_cost"], money["net_saving"]) == (2, 10.0, 60.0)
    assert money["blocked_legitimate_cost"] is None


def test_absurd_amounts_of_frauds_do_not_choose_the_thresholds() -> None:
    rows, plan = make_rows(), by_cost()
    frauds = np.flatnonzero(rows.labels == 1)
    absurd, missing = rows.amounts.copy(), rows.amounts.copy()
    absurd[frauds[:4]], missing[frauds[:4]] = [1e308, -1e308, 1e16, np.inf], 0.0
    found = choose_thresholds(replace(rows, amounts=absurd), plan)
    assert found == choose_thresholds(replace(rows, amounts=missing), plan)


def test_saving_curve_is_short_plain_and_peaks_at_the_choice() -> None:
    rows = make_rows(20_000)
    thresholds, facts = choose_thresholds(rows, by_cost(block=50.0, confidence=0.5))
    curve = json.loads(json.dumps(facts["saving_curve"]))
    assert 100 < len(curve) <= CURVE_POINTS
    assert [x for x, _ in curve] == sorted((x for x, _ in curve), reverse=True)
    best = max(curve, key=lambda point: point[1])
    assert best[0] == pytest.approx(thresholds.review, rel=1e-7)
    assert best[1] == pytest.approx(facts["money"]["net_saving"], rel=1e-6)


def test_choice_without_costs_has_no_money() -> None:
    _, facts = choose_thresholds(make_rows(500), DecisionPlan())
    assert "money" not in facts
    assert "saving_curve" not in facts


def parse(*flags: str) -> argparse.Namespace:
    return build_parser().parse_args(["train", "--synthetic", "500", *flags])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), DecisionPlan(review_budget=0.02)),
        (("--review-budget", "0.1"), DecisionPlan(review_budget=0.1)),
        (("--capacity-per-day", "9"), DecisionPlan(review_budget=None, capacity_per_day=9.0)),
        (("--review-cost", "4"), DecisionPlan(review_budget=None, costs=Costs(4.0))),
        (
            ("--review-cost", "4", "--fraud-loss", "amount", "--review-budget", "0.1"),
            DecisionPlan(review_budget=0.1, costs=Costs(4.0)),
        ),
        (
            ("--review-cost", "4", "--fraud-loss", "120", "--block-cost", "9"),
            DecisionPlan(review_budget=None, costs=Costs(4.0, 120.0, 9.0)),
        ),
    ],
)
def test_flags_become_a_plan(flags: tuple[str, ...], expected: DecisionPlan) -> None:
    plan = make_plan(parse(*flags))
    plan.check()
    assert plan.decisions == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--fraud-loss", "amount"), "--fraud-loss amount needs --review-cost"),
        (("--block-cost", "5"), "--block-cost 5.0 needs --review-cost"),
        (("--review-cost", "0"), "--review-cost 0.0 must be a number above 0"),
        (("--review-cost", "nan"), "--review-cost nan must be a number above 0"),
        (("--review-cost", "1", "--fraud-loss", "-3"), "--fraud-loss -3.0 must be"),
        (("--capacity-per-day", "inf"), "--capacity-per-day inf must be"),
        (("--review-budget", "2"), "--review-budget 2.0 must be a share"),
        (("--max-slowdown", "0"), "--max-slowdown 0.0 must be above 0"),
    ],
)
def test_wrong_flag_is_named_with_its_value(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(WrongUsageError, match=message):
        make_plan(parse(*flags)).check()


def test_fraud_loss_that_is_neither_amount_nor_number_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse("--review-cost", "1", "--fraud-loss", "much")
    assert exit_.value.code == 2
    assert "'much' is neither 'amount' nor a number" in capsys.readouterr().err


def test_summary_names_what_was_asked_beside_what_was_reached() -> None:
    rows = make_rows(20_000)
    _, facts = choose_thresholds(rows, DecisionPlan(review_budget=0.0333, capacity_per_day=50.0))
    text = "\n".join(describe_choice(facts))
    assert "(3.33 % asked, " in text
    assert "50 reviews a day allowed, " in text
    assert "alerts a day" in text
    _, facts = choose_thresholds(rows, by_cost())
    text = "\n".join(describe_choice(facts))
    assert "money: saved" in text
    assert "not counted (no --block-cost)" in text
