"""The verdict on synthetic transactions whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.errors import UsageError
from stream_scorer.quality.comparison import Comparison, Difference
from stream_scorer.quality.rows import LabelTable
from stream_scorer.quality.sources import LabelSource
from stream_scorer.shadow.compare.collect import Collector
from stream_scorer.shadow.compare.run import Compared, CompareOptions, run_comparison
from stream_scorer.shadow.compare.text import build_page, report_lines
from stream_scorer.shadow.compare.verdict import (
    EXIT_CODES,
    Judgement,
    Verdict,
    judge,
    next_step,
)
from tests.unit.shadow.compare.kit import DAY, NOW, TOPIC, World, make_labels

OPTIONS = CompareOptions("v7", "v8", NOW - 60 * DAY, NOW)


def run(world: World, labels: LabelTable | None = None, age_days: float = 30) -> Compared:
    found = labels if labels is not None else world.reports()
    return run_comparison(OPTIONS, [world.pairs(age_days=age_days)], TOPIC, found)


def test_better_worse_and_equal_challengers_are_told_apart() -> None:
    better = run(World(20_000, 0.05, (1.5, 2.5)))
    assert better.judgement.verdict is Verdict.BETTER
    assert better.judgement.source is LabelSource.MATURED
    assert run(World(20_000, 0.05, (2.5, 1.5))).judgement.verdict is Verdict.WORSE
    equal = World(60_000, 0.3, (2.0, 2.0))
    equal.scores[1] = equal.scores[0] * 0.999  # the same order
    assert run(equal).judgement.verdict is Verdict.NO_WORSE
    assert EXIT_CODES == {"better": 0, "cannot tell yet": 3, "no worse": 4, "worse": 5}


def test_each_verdict_says_what_to_do_next() -> None:
    steps = {v: next_step(Judgement(v, None, "", 120), "v7", "v8") for v in Verdict}
    assert steps[Verdict.BETTER].endswith("fraud-trainer models promote v8 --if-better")
    assert steps[Verdict.WORSE].startswith("keep v7, and end the shadow scoring with fraud-trainer")
    assert "promote v8 promotes it without this comparison" in steps[Verdict.NO_WORSE]
    assert steps[Verdict.CANNOT_TELL].startswith("keep v7 until about 120 more labels are in")
    unknown = next_step(Judgement(Verdict.CANNOT_TELL, None, ""), "v7", "v8")
    assert unknown.startswith("keep v7 until more labels are in, then run fraud-trainer models com")


def test_verdict_and_intervals_are_the_same_each_time() -> None:
    world = World(5_000, 0.05, (1.5, 1.8))
    first, second = run(world), run(world)
    assert first.result | {"seconds": 0} == second.result | {"seconds": 0}


def test_few_labels_cannot_tell_and_more_of_them_do() -> None:
    few = run(World(1_500, 0.05, (1.6, 1.7), seed=7))
    assert few.judgement.verdict is Verdict.CANNOT_TELL
    more = few.judgement.more_labels
    assert more is not None
    assert f"cannot tell yet (about {more:,} more labels)" in "\n".join(report_lines(few.result))
    # What the estimate is for: with that many the interval is narrow enough to decide.
    enough = run(World(1_500 + more, 0.05, (1.6, 1.7), seed=6))
    assert enough.judgement.verdict is not Verdict.CANNOT_TELL


def test_too_few_frauds_for_an_interval_say_how_many_are_missing() -> None:
    world = World(2_000, 0.05, (1.5, 2.5))
    frauds = np.flatnonzero(world.is_fraud)[:12] + 1
    found = run(world, make_labels(frauds, 1, is_report=True))
    assert found.judgement.verdict is Verdict.CANNOT_TELL
    assert found.judgement.more_labels is not None
    assert found.judgement.more_labels >= 8
    assert "too few" in found.judgement.reason


def test_immature_scores_and_analysts_alone_say_nothing_about_the_rest() -> None:
    world = World(2_000, 0.05, (1.5, 2.5))
    young = run(world, age_days=3)
    assert young.judgement.source is None
    assert "no fraud was reported" in young.judgement.reason
    assert young.result["rows"] == 2_000
    found = run(world, make_labels(np.flatnonzero(world.is_fraud) + 1, 1, is_report=False))
    assert found.judgement.verdict is Verdict.CANNOT_TELL
    assert found.result["labels"]["matured"]["why_not"].startswith("no fraud was reported")


def test_window_that_is_no_longer_than_the_maturity_names_both_settings() -> None:
    world = World(2_000, 0.05, (1.5, 2.5))
    for days, is_too_young in ((30, True), (29, False)):
        options = replace(OPTIONS, since=NOW - 30 * DAY, maturity_days=days)
        found = run_comparison(options, [world.pairs(age_days=1)], TOPIC, world.reports())
        told = found.result["labels"]["matured"]["why_not"]
        assert ("further back than --maturity-days" in told) is is_too_young


def test_random_lane_stands_for_what_was_not_flagged() -> None:
    world = World(40_000, 0.05, (1.5, 2.5))
    pairs = world.pairs(age_days=1, share=0.01)
    ours = pairs.champion
    seen = (ours.decisions > 0) | np.isfinite(ours.shares)
    ids, truth = ours.transactions[seen], world.is_fraud[seen].astype(np.int8)
    labels = make_labels(ids, 0, is_report=False)
    labels = LabelTable(
        ids, truth, labels.decided_at, truth, labels.report, labels.partitions, labels.offsets
    )
    collector = Collector(TOPIC, labels, NOW - 10**9)
    collector.add(pairs)
    rows = collector.sampled()
    assert rows is not None
    assert rows.weights.sum() == pytest.approx(40_000)
    # Weighted, the sample has as much fraud as there is.
    frauds = rows.weights[rows.labels == 1].sum()
    assert frauds == pytest.approx(world.is_fraud.sum(), rel=0.35)
    found = run_comparison(OPTIONS, [pairs], TOPIC, labels)
    assert found.judgement.source is LabelSource.SAMPLED
    assert found.judgement.verdict in (Verdict.BETTER, Verdict.CANNOT_TELL)


def test_thinning_bounds_the_memory_and_keeps_all_fraud_and_the_estimate() -> None:
    world = World(40_000, 0.02, (1.5, 2.5))
    whole = run(world).result["labels"]["matured"]
    collector = Collector(TOPIC, world.reports(), NOW - 10**9, max_kept=6_000)
    pairs = world.pairs()
    for first in range(0, 40_000, 1_000):
        collector.add(pairs.take(slice(first, first + 1_000)))
    rows = collector.matured()
    assert rows is not None
    assert len(rows.labels) <= 6_000
    assert int(rows.labels.sum()) == whole["frauds"]
    assert rows.weights.sum() == pytest.approx(40_000, rel=0.05)
    options = CompareOptions("v7", "v8", 0, NOW, max_kept=6_000)
    thin = run_comparison(options, [pairs], TOPIC, world.reports()).result["labels"]["matured"]
    for name in ("average_precision", "recall_at_budget"):
        assert thin[name]["difference"] == pytest.approx(whole[name]["difference"], abs=0.04)


def test_nine_cells_have_rows_and_the_amounts_that_scores_state() -> None:
    world = World(3_000, 0.05, (1.5, 2.5))
    result = run(world).result
    pairs = world.pairs()
    cells = {(c["champion"], c["challenger"]): c for c in result["decisions"]}
    assert sum(cell["rows"] for cell in cells.values()) == 3_000
    moved = (pairs.champion.decisions == 0) & (pairs.challenger.decisions == 1)
    assert cells["APPROVE", "REVIEW"]["rows"] == int(moved.sum()) > 0
    assert cells["APPROVE", "REVIEW"]["amount"] == 10.0 * moved.sum()
    assert cells["APPROVE", "APPROVE"]["amount"] is None
    assert json.loads(json.dumps(result)) == result


def test_amounts_that_are_none_leave_the_sums_finite() -> None:
    pairs = World(600, 0.2, (2.0, 2.0)).pairs()
    flagged = np.flatnonzero(pairs.champion.decisions)
    plain = run_comparison(OPTIONS, [pairs], TOPIC, None).result["decisions"]
    for side in (pairs.champion, pairs.challenger):
        side.amounts[flagged[:4]] = [1e308, 1e308, -1e308, np.inf]
    found = run_comparison(OPTIONS, [pairs], TOPIC, None).result
    json.dumps(found, allow_nan=False)
    known = sum(cell["rows_with_amount"] for cell in found["decisions"])
    assert known == sum(cell["rows_with_amount"] for cell in plain) - 4


def test_pairs_without_any_row_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no transaction has a score of both v7 and v8"):
        run_comparison(OPTIONS, [], TOPIC, None)


def test_labels_from_the_future_are_left_out_and_what_is_left_out_is_said() -> None:
    world = World(2_000, 0.05, (1.5, 2.5))
    late = world.reports()
    late.decided_at[::2] = NOW + 1
    n = (len(late) + 1) // 2
    result = run(world, replace(late, bad_records=3)).result
    assert result["labels"]["matured"]["frauds"] == len(late) - n
    assert result["refused"] == {"labels_from_the_future": n, "bad_label_records": 3}
    told = [f"{n:,} labels were decided later than now", "3 records of the labels topic are no"]
    for text in ("\n".join(report_lines(result)), build_page(result)):
        assert all(one in text for one in told)
    assert "left out" not in "\n".join(report_lines(run(world).result))


def test_page_shows_the_verdict_and_escapes_every_text() -> None:
    result = run(World(2_000, 0.05, (1.5, 2.5))).result
    page = build_page(result | {"reason": "<script>alert(1)</script>\x1b"})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == 1 + 9 + 1 + 10
    assert "\x1b" not in "\n".join(report_lines(result | {"reason": "\x1b[31m"}))


def compared(precision: tuple[float, float], recall: tuple[float, float]) -> Comparison:
    found = [Difference(0.5 + sum(ends) / 2, 0.5, ends) for ends in (precision, recall)]
    return Comparison(found[0], found[1], 0.02, 1_000, 100, 50)


@pytest.mark.parametrize(
    ("precision", "recall", "verdict", "more"),
    [
        ((0.001, 0.1), (-0.05, 0.1), Verdict.BETTER, None),
        ((0.001, 0.1), (-0.05, -0.01), Verdict.WORSE, None),
        ((-0.1, -0.001), (0.01, 0.1), Verdict.WORSE, None),
        ((-0.009, 0.05), (-0.009, 0.05), Verdict.NO_WORSE, None),
        ((-0.009, 0.05), (-0.011, 0.05), Verdict.CANNOT_TELL, 69),
        ((-0.04, 0.04), (0.0, 0.1), Verdict.CANNOT_TELL, 15_000),
        ((-0.08, 0.04), (0.0, 0.1), Verdict.CANNOT_TELL, 8_000),
    ],
)
def test_rule(
    precision: tuple[float, float], recall: tuple[float, float], verdict: Verdict, more: int | None
) -> None:
    found = judge({LabelSource.MATURED: compared(precision, recall)}, {LabelSource.MATURED: 1_000})
    assert found.verdict is verdict
    assert found.more_labels == (pytest.approx(more, rel=0.03) if more else None)
