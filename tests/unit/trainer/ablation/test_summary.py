"""Differences, intervals, verdicts, and the tables."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ablation.kit import (
    PAIRS,
    PROGRAM,
    SMALL,
    FakeWindows,
    candidate,
    make_ablation,
)
from trainer.ablation.report import build_report, describe_report
from trainer.ablation.results import Result
from trainer.ablation.run import Ablation
from trainer.ablation.summary import GAINS, HURTS, NO_GAIN, TOO_FEW, Summary, estimate, verdict
from trainer.ablation.variants import Variants, plan_variants
from trainer.programs.chosen import ChosenProgram

VARIANTS = plan_variants(PROGRAM, [candidate(PAIRS)], ["counts", "pairs"])


def filled(source: FakeWindows, values: dict[str, list[float]]) -> Ablation:
    """An ablation whose results are given: variant → one value for each window and seed."""
    ablation = make_ablation(source, VARIANTS)
    pairs = [(window, seed) for window in source.names for seed in source.all_seeds]
    for variant in VARIANTS.distinct():
        for (window, seed), value in zip(pairs, values.get(variant.key, []), strict=False):
            key, digest = variant.key, variant.digest
            ablation.results.add(Result(window, seed, key, digest, value, 0.1))
    return ablation


def test_interval_is_students_t() -> None:
    found = estimate([-0.01, -0.02, -0.03])
    assert found.mean == pytest.approx(-0.02)
    half = 4.302653 * 0.01 / 3**0.5  # 97.5 % of Student's t with two degrees of freedom
    assert found.interval == pytest.approx((-0.02 - half, -0.02 + half), rel=1e-6)
    assert found.gained_on == 3
    assert estimate([0.5]).interval is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-0.020, -0.022, -0.018, -0.021, -0.019], GAINS),
        ([0.020, 0.022, 0.018, 0.021, 0.019], HURTS),
        ([-0.05, -0.01, 0.02, -0.03, 0.01], NO_GAIN),
        ([-0.03, -0.01, -0.001], NO_GAIN),  # on three seeds, and still not beyond chance
        ([0.0, 0.0, 0.0], NO_GAIN),
        ([-0.020, -0.0200001], TOO_FEW),
        ([-0.02], TOO_FEW),
    ],
)
def test_verdict_follows_the_rule(values: list[float], expected: str) -> None:
    assert verdict(estimate(values)) == expected


def test_difference_is_the_change_when_the_group_is_left_out() -> None:
    source = FakeWindows(names=("a", "b", "c"))
    values = {
        "whole": [0.50, 0.60, 0.70],
        "without:counts": [0.48, 0.59, 0.67],
        "with:pairs": [0.49, 0.58, 0.69],
        "raw": [0.40, 0.50, 0.80],
    }
    summary = Summary(filled(source, values))
    counts, pairs = summary.rows()
    assert counts["group"] == "counts"
    assert counts["difference"] == pytest.approx(-0.02)
    assert (counts["gained_on"], counts["seeds"], counts["features"]) == (3, 3, 1)
    # Leaving the candidate out again makes the model better: it does not help.
    assert pairs["is_candidate"]
    assert pairs["difference"] == pytest.approx((0.01 + 0.02 + 0.01) / 3)
    assert pairs["gained_on"] == 0
    raw = summary.reference(VARIANTS.raw)
    assert raw is not None
    assert raw["difference"] == pytest.approx(-0.1 / 3)
    assert raw["average_precision"] == pytest.approx(1.7 / 3)
    assert raw["features"] == 431


def test_models_on_the_same_rows_count_once() -> None:
    source = FakeWindows(names=("a", "b"), all_seeds=(1, 2, 3))
    values = {
        "whole": [0.5, 0.5, 0.5, 0.6, 0.6, 0.6],
        "without:counts": [0.48, 0.47, 0.46, 0.59, 0.59, 0.59],
    }
    (row,) = Summary(filled(source, values)).rows()
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx((-0.03 - 0.01) / 2)


def test_single_window_has_an_interval_over_its_models() -> None:
    source = FakeWindows(names=("a",), all_seeds=(1, 2, 3))
    values = {"whole": [0.5, 0.5, 0.5], "without:counts": [0.48, 0.47, 0.46]}
    summary = Summary(filled(source, values))
    (row,) = summary.rows()
    assert (summary.unit, row["seeds"], row["gained_on"]) == ("model seed", 3, 3)


def test_unfinished_pairs_are_left_out() -> None:
    source = FakeWindows(names=("a", "b", "c"))
    values = {"whole": [0.5, 0.6, 0.7], "without:counts": [0.4, 0.5]}
    ablation = filled(source, values)
    (row,) = Summary(ablation).rows()
    assert row["seeds"] == 2
    report = build_report(ablation, ChosenProgram(PROGRAM), [])
    assert report["raw"] is None
    assert not report["plan"]["is_complete"]
    assert "not all fits are finished" in list(describe_report(report))


def complete() -> dict[str, Any]:
    source = FakeWindows(names=("a", "b", "c"))
    keys: list[Variants] = [VARIANTS]
    values = {v.key: [0.5 + 0.01 * i, 0.6, 0.7] for i, v in enumerate(keys[0].distinct())}
    return build_report(filled(source, values), ChosenProgram(PROGRAM), [candidate(PAIRS)])


def test_report_has_what_a_reader_needs() -> None:
    report = complete()
    assert {"rows", "raw", "whole", "plan"} <= report.keys()
    for row in report["rows"]:
        assert {"group", "features", "difference", "interval", "gained_on", "seeds"} <= row.keys()
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
    plan = report["plan"]
    assert plan["is_complete"]
    assert (plan["trees"], plan["leaves"]) == (SMALL.trees, SMALL.leaves)
    assert plan["candidates"][0]["file"] == "candidate.toml"
    assert "jobs" not in plan


def test_table_has_a_line_for_each_group_and_reference() -> None:
    lines = list(describe_report(complete()))
    text = "\n".join(lines)
    assert all(len(line) <= 100 for line in lines)
    for start in ("whole program", "with all candidates", "raw columns", "counts ", "pairs + "):
        assert sum(line.startswith(start) for line in lines) == 1
    assert "gains: the interval is below zero" in text
