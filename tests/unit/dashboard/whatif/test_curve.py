"""The curve against a slow reference in plain Python, which compares each score by itself."""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass

import numpy as np
import pytest

from dashboard.whatif.curve import NO_REPORTS, NO_SAMPLE, NOT_REVIEWED, Curve, compute, nearest
from dashboard.whatif.rows import (
    BINS,
    EDGES,
    LabelledScore,
    ScoreCounts,
    Thresholds,
    build_labelled,
)
from stream_scorer.quality.estimates import Z
from stream_scorer.quality.sources import LabelSource

LIVE = Thresholds(0.6237, 0.9101)
PER_DAY = 0.5


@dataclass(frozen=True)
class World:
    """Every score of a version, and the labels of some."""

    scores: list[float]
    rows: list[LabelledScore]

    def counts(self, live: Thresholds = LIVE) -> ScoreCounts:
        bins = [0] * BINS
        for score in self.scores:
            bins[max(k for k in range(BINS) if score >= k / 1000)] += 1
        return ScoreCounts(
            np.array(bins),
            sum(score >= live.review for score in self.scores),
            sum(score >= live.block for score in self.scores),
            PER_DAY,
        )


def make_world(seed: int, count: int = 150) -> World:
    """Scores near edges, on edges and at both thresholds, with labels of all kinds."""
    pick = random.Random(seed)
    special = [0.0, 1.0, LIVE.review, LIVE.block, math.nextafter(LIVE.review, 0), 0.117, 0.561]
    special += [math.nextafter(edge, 0) for edge in (0.117, 0.203, 0.561, 0.686, 0.7)]
    scores = special + [pick.choice([pick.random(), pick.randrange(1000) / 1000])
                        for _ in range(count)]  # fmt: skip
    rows = [
        LabelledScore(
            score,
            pick.choice([True, True, False, None]),
            *pick.choice([(True, False), (False, True), (True, True)]),
            amount=pick.choice([None, pick.uniform(1, 900)]),
        )
        for score in scores
        if pick.random() < 0.5
    ]
    return World(scores, rows)


def slow_wilson(hits: int, trials: int) -> tuple[float, float]:
    p, zz = hits / trials, Z * Z
    middle = (p + zz / (2 * trials)) / (1 + zz / trials)
    half = Z * math.sqrt(p * (1 - p) / trials + zz / (4 * trials**2)) / (1 + zz / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def check(value: float, low: float, high: float, hits: int, trials: int) -> None:
    if trials == 0:
        assert math.isnan(value)
        return
    assert value == pytest.approx(hits / trials)
    assert (low, high) == pytest.approx(slow_wilson(hits, trials))


@pytest.mark.parametrize("seed", range(4))
def test_alerts_are_those_that_the_scorer_would_flag(seed: int) -> None:
    world = make_world(seed)
    curve = compute(LabelSource.REVIEWED, world.counts(), build_labelled(world.rows), LIVE)
    assert LIVE.review in curve.thresholds
    assert len(curve.thresholds) == BINS + 1
    for threshold, alerts in zip(curve.thresholds.tolist(), curve.alerts.tolist(), strict=True):
        assert alerts == sum(score >= threshold for score in world.scores), threshold
    assert curve.alerts_per_day.tolist() == (curve.alerts * PER_DAY).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_reviewed_precision_counts_what_analysts_decided_above_the_threshold(seed: int) -> None:
    world = make_world(seed)
    curve = compute(LabelSource.REVIEWED, world.counts(), build_labelled(world.rows), LIVE)
    decided = [r for r in world.rows if r.is_reviewed and r.is_fraud is not None
               and r.score >= LIVE.review]  # fmt: skip
    for i, threshold in enumerate(curve.thresholds.tolist()):
        seen = [r for r in decided if r.score >= threshold]
        if threshold < LIVE.review:
            seen = []
        hits = sum(r.is_fraud is True for r in seen)
        p = curve.precision
        check(p.value[i], p.low[i], p.high[i], hits, len(seen))
        assert p.n[i] == len(seen)
        caught = sum(r.amount or 0 for r in decided if r.is_fraud and r.score >= threshold)
        assert curve.money.caught[i] == pytest.approx(caught)
        above = [r for r in decided if r.is_fraud and r.score < threshold]
        if threshold <= LIVE.review:
            assert math.isnan(curve.money.missed[i])
        else:
            assert curve.money.missed[i] == pytest.approx(
                sum(r.amount or 0 for r in above), abs=1e-6
            )
    assert curve.money.caught_is_bound
    assert curve.money.missed_is_bound
    assert np.isnan(curve.recall.value).all()
    assert curve.recall_reason == NOT_REVIEWED


@pytest.mark.parametrize("seed", range(4))
def test_matured_labels_count_the_unlabelled_as_legitimate_unless_blocked(seed: int) -> None:
    world = make_world(seed)
    curve = compute(LabelSource.MATURED, world.counts(), build_labelled(world.rows), LIVE)
    frauds = [r for r in world.rows if r.is_fraud]
    assert curve.recall_reason == ""
    for i, threshold in enumerate(curve.thresholds.tolist()):
        flagged = sum(score >= threshold for score in world.scores)
        unsure = sum(r.is_fraud is None and r.score >= threshold for r in world.rows)
        stopped = max(threshold, LIVE.block)
        silent = sum(s >= stopped for s in world.scores)
        silent -= sum(r.score >= stopped for r in world.rows)
        hits = sum(r.score >= threshold for r in frauds)
        p, r = curve.precision, curve.recall
        check(p.value[i], p.low[i], p.high[i], hits, flagged - unsure - silent)
        check(r.value[i], r.low[i], r.high[i], hits, len(frauds))
        missed = [f for f in frauds if f.score < threshold]
        assert curve.money.missed[i] == pytest.approx(sum(f.amount or 0 for f in missed), abs=1e-6)
        assert curve.money.unknown[i] == sum(f.amount is None for f in missed)


@pytest.mark.parametrize("seed", range(3))
def test_sampled_rows_count_with_their_weights(seed: int) -> None:
    world, pick = make_world(seed), random.Random(seed)
    below = [
        LabelledScore(pick.uniform(0, 0.6), pick.random() < 0.2, True, False, 5.0, True, 200.0)
        for _ in range(80)
    ]
    counts = world.counts()
    curve = compute(LabelSource.SAMPLED, counts, build_labelled([*world.rows, *below]), LIVE)
    above = [r for r in world.rows if r.is_reviewed and r.is_fraud is not None
             and r.score >= LIVE.review]  # fmt: skip
    flagged = sum(score >= LIVE.review for score in world.scores)
    weighted = [(r, flagged / len(above)) for r in above] + [(r, 200.0) for r in below]
    total = sum(w for r, w in weighted if r.is_fraud)
    for i, threshold in enumerate(curve.thresholds.tolist()):
        seen = [(r, w) for r, w in weighted if r.score >= threshold]
        hits = sum(w for r, w in seen if r.is_fraud)
        if seen:
            assert curve.precision.value[i] == pytest.approx(hits / sum(w for _, w in seen))
        assert curve.recall.value[i] == pytest.approx(hits / total)
    low, value, high = curve.recall.low, curve.recall.value, curve.recall.high
    assert ((low <= value + 1e-12) & (value <= high + 1e-12)).all()


def test_reviewed_labels_have_nothing_to_say_below_the_threshold() -> None:
    rows = [
        LabelledScore(0.3, True, True, False),
        LabelledScore(0.7, True, True, False),
    ]
    world = World([0.3, 0.7, 0.8], rows)
    curve = compute(LabelSource.REVIEWED, world.counts(), build_labelled(rows), LIVE)
    live = curve.live
    assert np.isnan(curve.precision.value[:live]).all()
    assert curve.precision.n[:live].sum() == 0
    assert curve.precision.value[live] == 1.0


def test_without_reports_from_outside_recall_is_not_one() -> None:
    rows = [LabelledScore(0.7, True, True, False)]
    curve = compute(LabelSource.MATURED, World([0.7], rows).counts(), build_labelled(rows), LIVE)
    assert np.isnan(curve.recall.value).all()
    assert curve.recall_reason == NO_REPORTS
    assert np.isnan(curve.money.missed[: curve.live + 1]).all()


def test_frauds_without_a_score_make_recall_a_range() -> None:
    rows = [LabelledScore(0.7, True, False, True)] * 60
    world = World([0.7] * 60 + [0.2] * 100, rows)
    curve = compute(LabelSource.MATURED, world.counts(), build_labelled(rows, unscored=40), LIVE)
    at = curve.live
    assert math.isnan(curve.recall.value[at])
    assert curve.recall.low[at] == pytest.approx(slow_wilson(60, 100)[0])
    assert curve.recall.high[at] == pytest.approx(1.0)
    assert "40 reported frauds is not known" in curve.recall_reason
    assert curve.precision.value[at] == 1.0
    below = curve.at(0.1)
    assert math.isnan(curve.precision.value[below])
    assert curve.precision.low[below] == pytest.approx(slow_wilson(60, 160)[0])
    assert curve.precision.high[below] == pytest.approx(slow_wilson(100, 160)[1])


def test_sample_is_off_without_sampled_scores() -> None:
    rows = [LabelledScore(0.7, True, True, False)]
    curve = compute(LabelSource.SAMPLED, World([0.7], rows).counts(), build_labelled(rows), LIVE)
    assert curve.recall_reason == NO_SAMPLE
    assert np.isnan(curve.precision.value[: curve.live]).all()
    assert curve.precision.value[curve.live] == 1.0


@pytest.mark.parametrize("source", LabelSource)
def test_absurd_amount_is_one_that_is_not_known(source: LabelSource) -> None:
    world = make_world(5)
    first = next(row for row in world.rows if row.is_fraud and row.amount is not None)
    curves = [
        compute(
            source,
            world.counts(),
            build_labelled([row._replace(amount=amount) if row is first else row
                            for row in world.rows]),
            LIVE,
        )
        for amount in (None, 1e308, -1e308)
    ]  # fmt: skip
    for curve in curves[1:]:
        np.testing.assert_equal(asdict(curve.money), asdict(curves[0].money))


def test_threshold_equal_to_a_score_flags_it() -> None:
    rows = [LabelledScore(LIVE.review, True, True, False)]
    world = World([LIVE.review, math.nextafter(LIVE.review, 0), 0.7, 0.7], rows)
    curve = compute(LabelSource.REVIEWED, world.counts(), build_labelled(rows), LIVE)
    assert curve.alerts[curve.live] == 3
    assert curve.labelled[curve.live] == 1
    assert curve.alerts[curve.at(0.7)] == 2
    assert curve.alerts[curve.at(0.701)] == 0


@pytest.mark.parametrize("block", [0.62, 0.9, 1.0, math.nextafter(1.0, 2.0)])
@pytest.mark.parametrize("review", [0.0, 0.62, 1.0, math.nextafter(1.0, 2.0)])
def test_every_pair_of_thresholds_gives_a_curve(review: float, block: float) -> None:
    live = Thresholds(review, max(review, block))
    world = make_world(1)
    for source in LabelSource:
        curve = compute(source, world.counts(live), build_labelled(world.rows), live)
        assert curve.thresholds[curve.live] == review
        assert curve.alerts[curve.live] == sum(s >= review for s in world.scores)
        shown = curve.precision.value[~np.isnan(curve.precision.value)]
        assert ((shown >= 0) & (shown <= 1)).all()


def test_empty_world_gives_a_curve_without_a_number() -> None:
    world = World([], [])
    for source in LabelSource:
        curve: Curve = compute(source, world.counts(), build_labelled([]), LIVE)
        assert curve.alerts.sum() == 0
        assert np.isnan(curve.precision.value).all()
        assert np.isnan(curve.recall.value).all()


def test_any_number_becomes_the_nearest_threshold_of_the_curve() -> None:
    assert nearest(0.62371, LIVE.review) == 0.624
    assert nearest(LIVE.review, LIVE.review) == LIVE.review
    assert (nearest(-1, 0.5), nearest(1.0, 0.5), nearest(7, 0.5)) == (0.0, 0.999, 0.999)
    curve = compute(LabelSource.REVIEWED, World([], []).counts(), build_labelled([]), LIVE)
    assert [curve.thresholds[curve.at(t)] for t in EDGES[:-1].tolist()] == EDGES[:-1].tolist()
    with pytest.raises(ValueError, match="no multiple"):
        curve.at(0.5001)
