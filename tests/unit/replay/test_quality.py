"""What both sides of a replay are worth by the labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.labels.labels import Labels
from stream_scorer.quality.estimates import average_precision
from stream_scorer.replay.quality import LabelledScores, recall_above
from trainer.evaluation import measures


def labels(of: dict[int, int]) -> Labels:
    ids = np.array(sorted(of), np.int64)
    values = np.array([of[number] for number in ids.tolist()], np.int8)
    return Labels(ids, values, np.zeros(len(ids), np.int8), {})


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9]) | st.floats(0, 1), st.booleans())))
def test_average_precision_is_the_trainers(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in rows])
    is_fraud = np.array([fraud for _, fraud in rows], np.bool_)
    found = average_precision(is_fraud, scores)
    if not is_fraud.any():
        assert np.isnan(found)
        return
    expected = measures.average_precision(measures.rank(scores, is_fraud.astype(np.int8)))
    assert found == pytest.approx(expected, rel=1e-12)


def test_labelled_inputs_are_judged_and_all_others_counted() -> None:
    known = labels({1: 1, 2: 0, 3: -1, 4: 1, 99: 0})
    found = LabelledScores(known, 10)
    now = np.array([0.9, 0.8, 0.7, 0.1, 0.5])
    before = np.array([0.1, 0.8, 0.7, 0.9, 0.5])
    found.add(np.array([1, 2, 3, 4, 5]), before, now)
    found.add(np.array([1]), np.array([0.2]), np.array([0.95]))  # the transaction came twice
    result = found.as_json()
    counts = ("labelled", "frauds", "legitimate", "unsure", "without_label")
    assert [result[name] for name in counts] == [4, 3, 1, 1, 1]
    assert result["labels_of_other_inputs"] == 1
    assert result["replayed"]["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert result["before"]["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # 2 % of six inputs are one: the highest score of all
    assert result["replayed"]["recall_in_top"] == pytest.approx(1 / 3)
    assert result["before"]["recall_in_top"] == pytest.approx(1 / 3)


def test_recall_in_the_top_counts_all_inputs_and_not_only_labelled_ones() -> None:
    rng = np.random.default_rng(2)
    scores, ids = rng.random(300_000), np.arange(300_000)
    known = labels(dict.fromkeys(range(0, 300000, 100), 1))
    found = LabelledScores(known, len(ids) + 5_000)  # offsets of txn markers count among the most
    for start in range(0, len(ids), 7_919):
        rows = slice(start, start + 7_919)
        found.add(ids[rows], np.zeros(len(ids[rows])), scores[rows])
    threshold = np.sort(scores)[-int(len(ids) * 0.02)]
    expected = float((scores[::100] >= threshold).mean())
    result = found.as_json()
    assert result["replayed"]["recall_in_top"] == expected
    assert 0.01 < expected < 0.03
    assert result["before"]["recall_in_top"] == 1.0  # every score is equal to the highest


def test_without_a_fraud_there_is_nothing_to_measure() -> None:
    for known in (labels({}), labels({1: 0})):
        found = LabelledScores(known, 10)
        found.add(np.array([1, 2]), np.array([0.1, 0.2]), np.array([0.3, 0.4]))
        result = found.as_json()
        assert result["replayed"] == {"average_precision": None, "recall_in_top": None}
        assert result["labelled"] == len(known)
    assert recall_above(np.array([0.5]), np.array([False]), 0.1) is None
    assert LabelledScores(labels({}), 0).as_json()["without_label"] == 0


def test_labels_of_transactions_are_found() -> None:
    has_label, values = LabelledScores(labels({3: -1, 7: 1}), 1).find(np.array([7, 5, 3, 99, -1]))
    assert has_label.tolist() == [True, False, True, False, False]
    assert values[has_label].tolist() == [1, -1]
