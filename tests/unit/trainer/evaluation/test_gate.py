"""The gate's rules, one by one, and the champion on rows that it did not learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.quality.comparison import Comparison, Difference
from tests.support.factories import make_batch, make_bundle
from trainer.candidate import lost_columns
from trainer.data.ingest import Part
from trainer.evaluation.champion import (
    Rival,
    budget_of,
    compare_scores,
    gate_facts,
)
from trainer.evaluation.evaluate import score_all
from trainer.evaluation.gate import GateVerdict, judge_candidate
from trainer.evaluation.latency import ROUNDS, Contender, Latency, measure_latency
from trainer.fitting.decisions import DecisionPlan
from trainer.fitting.plan import GatePlan, Plan


def make_measures(**changes: Any) -> dict[str, Any]:
    return {
        "rows": 3000,
        "frauds": 105,
        "average_precision": 0.5,
        "average_precision_interval": (0.42, 0.58),
        "roc_auc": 0.9,
        "roc_auc_interval": (0.85, 0.95),
        "log_loss": 0.1,
        "fraud_rate": 0.035,
        "review": {"rows": 60},
        "top": {"0.02": {"recall": 0.4}},
    } | changes


def make_comparison(
    difference: float = 0.0, low: float | None = -0.01, high: float = 0.01, **changes: Any
) -> Comparison:
    """The candidate's average precision is 0.5; recall is equal."""
    interval = None if low is None else (low, high)
    same = Difference(0.4, 0.4, None if low is None else (-0.01, 0.01))
    found = Comparison(Difference(0.5, 0.5 - difference, interval), same, 0.02, 3000, 105, 60)
    return replace(found, **changes)


def judge(comparison: Comparison | None = None, **more: Any) -> GateVerdict:
    champion = None if comparison is None else "v1"
    return judge_candidate(make_measures(), comparison, GatePlan(), champion, **more)


def test_rows_that_lack_columns_of_the_champion_are_refused() -> None:
    lost = [f"id_{n:02}" for n in range(1, 9)]
    verdict = judge(make_comparison(), lost_columns=lost)
    assert not verdict.has_passed
    (refusal,) = verdict.refusals
    assert refusal == (
        "these rows lack 8 columns that v1 learned from: id_01, id_02, id_03, id_04, id_05, …. "
        "Is --identity missing?"
    )


def test_only_columns_that_the_champion_had_and_uses_are_lost() -> None:
    champion = replace(make_bundle(), metadata={"training": {"missing_columns": ["V1"]}})
    now = {"missing_columns": ["V1", "V2", "unknown"]}
    assert lost_columns(now, champion) == ["V2"]
    assert lost_columns({}, champion) == []
    assert lost_columns(now, None) == []
    assert lost_columns(now, replace(champion, metadata={"training": None})) == []


def test_good_candidate_without_a_champion_passes_with_its_intervals() -> None:
    verdict = judge()
    assert verdict.has_passed
    assert "average precision 0.5000 (95 %: 0.4200 to 0.5800)" in verdict.notes
    assert "there is no champion to compare with" in verdict.notes


@pytest.mark.parametrize("frauds", [0, 1, 29])
def test_few_frauds_are_not_judged_whatever_the_figures_say(frauds: int) -> None:
    measures = make_measures(
        frauds=frauds, roc_auc_interval=None, average_precision=float("nan"), roc_auc=1.0
    )
    verdict = judge_candidate(measures, None, GatePlan())
    assert verdict.refusals == (f"too few frauds to judge ({frauds} of 30)",)


def test_thirty_frauds_are_judged() -> None:
    assert judge_candidate(make_measures(frauds=30), None, GatePlan()).has_passed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"average_precision": float("nan")}, "average_precision is not a finite number"),
        ({"average_precision": 0.06}, "2 times chance"),
        ({"roc_auc": 0.55}, "ROC AUC 0.5500 is below 0.6"),
        ({"roc_auc_interval": (0.49, 1.0)}, "ROC AUC may be no better than chance"),
        ({"roc_auc_interval": None}, "ROC AUC has no interval"),
        ({"review": {"rows": 0}}, "its thresholds flag none of the test rows"),
    ],
)
def test_candidate_that_is_no_better_than_chance_or_flags_nothing_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    verdict = judge_candidate(make_measures(**changes), None, GatePlan())
    assert len(verdict.refusals) == 1
    assert reason in verdict.refusals[0]


def test_champion_that_cannot_be_loaded_is_named() -> None:
    verdict = judge_candidate(make_measures(), None, GatePlan(), "v4")
    assert verdict.has_passed
    assert "not compared with v4: this code cannot load it" in verdict.notes


@pytest.mark.parametrize(
    ("comparison", "refusal"),
    [
        (make_comparison(0.0), None),
        (make_comparison(0.03, 0.01, 0.05), None),
        (make_comparison(-0.01, -0.03, 0.01), None),  # worse, but neither surely nor by much
        (make_comparison(-0.01, -0.02, -0.001), "is worse beyond chance"),
        (make_comparison(-0.2, -0.3, -0.1), "is worse beyond chance"),
        (make_comparison(-0.03, -0.04, 0.001), "cannot tell whether only by chance"),
        (make_comparison(-0.01, -0.08, 0.06), "cannot tell whether average precision"),
        (make_comparison(0.01, -0.08, 0.1), None),  # looks better
        (make_comparison(-0.01, None), "cannot tell whether average precision"),
        (make_comparison(0.01, None), None),
    ],
)
def test_candidate_may_not_be_worse_than_the_champion(
    comparison: Comparison, refusal: str | None
) -> None:
    verdict = judge(comparison)
    if refusal is None:
        assert verdict.has_passed, verdict.refusals
    else:
        assert len(verdict.refusals) == 1
        assert refusal in verdict.refusals[0]
        assert f"{comparison.average_precision.difference:+.4f}" in verdict.refusals[0]
        assert "v1's" in verdict.refusals[0]


def test_recall_at_the_budget_counts_as_much_as_average_precision() -> None:
    worse = Difference(0.3, 0.5, (-0.3, -0.1))
    verdict = judge(make_comparison(recall_at_budget=worse, budget=0.015))
    assert len(verdict.refusals) == 1
    assert verdict.refusals[0].startswith("recall in the top 1.5 % 0.3000 against v1's 0.5000 is")


def test_passing_notes_have_the_difference_with_its_interval() -> None:
    notes = judge(make_comparison(0.02, -0.01, 0.05)).notes
    assert (
        "average precision 0.5000, v1 has 0.4800: difference +0.0200 (95 %: -0.0100 to +0.0500)"
        in notes
    )


@pytest.mark.parametrize(("candidate_us", "passes"), [(4.0, True), (8.0, True), (8.1, False)])
def test_model_that_is_much_slower_is_refused(candidate_us: float, passes: bool) -> None:
    verdict = judge(make_comparison(), latency=Latency(2048, candidate_us, 4.0))
    assert verdict.has_passed is passes
    assert any("v1 in 4.0 µs" in note for note in verdict.notes)
    if not passes:
        assert "2.02 times as long as v1 (4.0 µs); --max-slowdown is 2" in verdict.refusals[0]


@pytest.mark.parametrize(("candidate_us", "passes"), [(1.09, True), (1.11, False)])
def test_model_that_is_slower_by_less_than_a_microsecond_passes(
    candidate_us: float, passes: bool
) -> None:
    verdict = judge(make_comparison(), latency=Latency(2048, candidate_us, 0.1))
    assert verdict.has_passed is passes


def test_models_take_turns_and_the_fastest_round_counts() -> None:
    first, slow = make_bundle("v1"), make_bundle("v2", seed=2)
    # Before the rounds that count, there is one reading for each model.
    rounds = [(0.0, 0.2 + (i != 3), 0.0, 0.4 + (i != 5)) for i in range(ROUNDS)]
    readings = iter([0.0, 0.0, *(second for each in rounds for second in each)])
    found = measure_latency(
        Contender(first, make_batch(100)), Contender(slow, make_batch(100)), lambda: next(readings)
    )
    assert found.candidate_us == pytest.approx(0.2 / 100 * 1e6)
    assert found.champion_us == pytest.approx(0.4 / 100 * 1e6)
    assert found.slowdown == pytest.approx(0.5)


def test_latency_without_a_champion_has_no_slowdown() -> None:
    found = measure_latency(Contender(make_bundle(), make_batch(50)), None)
    assert found.candidate_us > 0
    assert json.loads(json.dumps(found.facts()))["slowdown"] is None


def make_part(n: int = 2000) -> Part:
    """Rows in time order whose label follows the champion's score, with noise."""
    batch = make_batch(n, 5)
    batch = replace(batch, times=np.arange(n, dtype=np.int64) * 100)
    scores = score_all(batch, make_bundle())
    noise = np.random.default_rng(1).normal(0, 0.1, n)
    return Part(batch, (scores + noise >= np.quantile(scores + noise, 0.9)).astype(np.int8))


def test_champion_is_compared_on_the_given_rows() -> None:
    part, champion = make_part(), make_bundle()
    theirs = score_all(part.batch, champion)
    ours = np.random.default_rng(2).random(len(part))
    same = compare_scores(part, theirs, theirs, "v1", budget=0.02, seed=1)
    worse = compare_scores(part, ours, theirs, "v1", budget=0.02, seed=1, notes=("why",))
    assert same.comparison is not None
    assert same.comparison.rows == len(part)
    assert same.comparison.average_precision.difference == 0.0
    assert worse.comparison is not None
    assert worse.comparison.average_precision.difference < -0.3
    assert worse.notes == ("why",)
    assert worse.figures is not None
    assert set(worse.figures) == {
        "version", "average_precision", "roc_auc", "recall_top_2_percent",
    }  # fmt: skip


def test_candidate_without_a_budget_is_compared_at_what_its_thresholds_flag() -> None:
    no_budget = Plan(decisions=DecisionPlan(review_budget=None, capacity_per_day=5.0))
    measures = {"review": {"share": 0.07}, "rows": 100}
    assert budget_of(no_budget, measures) == 0.07
    assert budget_of(no_budget, measures | {"review": {"share": 0.0}}) == 0.01
    assert budget_of(Plan(), measures) == 0.02


def test_gate_facts_are_plain_json_with_the_documented_names() -> None:
    comparison, latency = make_comparison(), Latency(2048, 4.0, 3.0)
    verdict = judge(comparison, latency=latency)
    facts = json.loads(json.dumps(gate_facts(verdict, Rival(comparison, {}, ()), latency)))
    assert facts["passed"] is True
    assert facts["comparison"]["average_precision"]["interval"] == [-0.01, 0.01]
    assert facts["latency"]["candidate_us_per_row"] == 4.0
    assert set(facts) == {
        "passed", "refusals", "notes", "champion", "comparison", "latency",
    }  # fmt: skip
