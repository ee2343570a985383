"""Which label stands for which flagged transaction, and which reports have no score here."""

from __future__ import annotations

import numpy as np
import pytest

from dashboard.whatif.curve import compute
from dashboard.whatif.labels import FlagScore, StandingLabel, match_labels
from dashboard.whatif.rows import BINS, DAY_MS, ScoreCounts, Thresholds
from stream_scorer.quality.sources import LabelSource

FLAGS = [
    FlagScore("0-1", 11, 1_000, 0.9, 50.0),
    FlagScore("0-2", 22, 2_000, 0.8, None),
    FlagScore("0-3", 22, 3_000, 0.7, 5.0),
]


def label(
    flag_id: str | None, transaction: int, label: str, origin: str = "ANALYST", at: int = 5_000
) -> StandingLabel:
    return StandingLabel(flag_id, transaction, label, origin, at)


def test_label_names_a_flag_or_every_flag_of_its_transaction() -> None:
    labels = [label("0-1", 11, "FRAUD"), label(None, 22, "LEGITIMATE", "REVERSAL")]
    found = match_labels(FLAGS, labels, set(), 0)
    assert found.scores.tolist() == [0.9, 0.8, 0.7]
    assert found.labels.tolist() == [1, 0, 0]
    assert found.is_reviewed.tolist() == [True, False, False]
    assert found.is_reported.tolist() == [False, True, True]


def test_later_decision_stands_whoever_gave_it() -> None:
    report = label(None, 11, "FRAUD", "CHARGEBACK", at=7_000)
    for decided, wanted in ((6_000, 1), (8_000, 0)):
        labels = [label("0-1", 11, "LEGITIMATE", at=decided), report]
        for order in (labels, labels[::-1]):
            found = match_labels(FLAGS[:1], order, {report}, 0)
            assert found.labels.tolist() == [wanted]
            assert (found.is_reviewed & found.is_reported).all()


def test_reported_fraud_without_a_score_is_counted_unless_it_is_older_than_the_window() -> None:
    known = label(None, 77, "FRAUD", "CHARGEBACK")  # flagged, in another window
    labels = [
        known,
        label(None, 98, "FRAUD", "CHARGEBACK", at=5_000),
        label("9-9", 99, "FRAUD", "CHARGEBACK", at=5_001),
        label(None, 97, "FRAUD", "CHARGEBACK", at=4_999),
        label(None, 96, "LEGITIMATE", "REVERSAL"),
        label("9-8", 95, "FRAUD"),
    ]
    assert match_labels(FLAGS, labels, {known}, since=5_000).unscored == 2


def test_replay_of_old_transactions_counts_reports_from_before_the_window() -> None:
    now = 30 * DAY_MS
    flag = FlagScore("0-1", 11, now, 0.9, 1.0)
    old = label(None, 98, "FRAUD", "CHARGEBACK", at=5_000)
    for reported_at, unscored in ((now + 1, 0), (now - DAY_MS, 0), (6_000, 1)):
        own = label(None, 11, "FRAUD", "CHARGEBACK", at=reported_at)
        assert match_labels([flag], [own, old], {own}, since=now).unscored == unscored


def test_label_that_this_version_does_not_know_is_left_out() -> None:
    labels = [label("0-1", 11, "PERHAPS")]
    assert len(match_labels(FLAGS, labels, set(), 0)) == 0


def test_decided_samples_stand_for_all_unflagged_scores_and_give_recall() -> None:
    flags = [
        FlagScore("0-1", 1, 1_000, 0.9, 50.0),
        *[FlagScore(f"1-{i}", 10 + i, 1_000, 0.1, 5.0, is_sampled=True) for i in range(6)],
    ]
    words = ["FRAUD", "LEGITIMATE", "LEGITIMATE", "LEGITIMATE", "UNSURE"]  # one is not looked at
    labels = [label("0-1", 1, "FRAUD"), *[label(f"1-{i}", 10 + i, w) for i, w in enumerate(words)]]
    report = label("1-5", 15, "FRAUD", "CHARGEBACK")
    found = match_labels(flags, [*labels, report], {report}, 0).weighted(1_000)
    assert found.is_sampled.tolist() == [False, *[True] * 5, False]  # reported: nobody sampled it
    assert found.weights.tolist() == [1.0, 250.0, 250.0, 250.0, 250.0, 1.0, 1.0]
    bins = np.zeros(BINS, np.int64)
    bins[[100, 900]] = 1_000, 3
    counts = ScoreCounts(bins, 3, 0, 1.0)
    curve = compute(LabelSource.SAMPLED, counts, found, Thresholds(0.5, 0.95))
    # One flagged fraud of one reviewed stands for 3, one missed of 4 for 250 of 1,000.
    assert curve.recall.value[curve.live] == pytest.approx(3 / 253)
    assert curve.recall.low[curve.live] < 3 / 253 < curve.recall.high[curve.live]


def test_without_decided_samples_no_weight_changes() -> None:
    flags = [FlagScore("1-1", 1, 1_000, 0.1, 5.0, is_sampled=True)]
    found = match_labels(flags, [label("1-1", 1, "UNSURE")], set(), 0).weighted(1_000)
    assert found.weights.tolist() == [1.0]
