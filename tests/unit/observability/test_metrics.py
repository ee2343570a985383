"""The scorer's metrics: their names, and their values after events."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.rejections import Rejection, Stage
from stream_scorer.observability.collectors import BatchHistogram
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled

DOCUMENTED = (
    "prediction_count_total",
    "model_version",
    "model_load_time_seconds",
    "fraud_scorer_decisions_total",
    "fraud_scorer_dead_letters_total",
    "fraud_scorer_lag_records",
)


def polled(n: int) -> Polled:
    nothing = [None] * n
    return Polled("in", nothing, nothing, nothing, np.zeros(n, np.int32), np.arange(n), None)


def outcome(scores: list[float], rejections: int = 0) -> Outcome:
    decisions = Counter({"APPROVE": len(scores) - 1, "REVIEW": 1, "BLOCK": 0})
    bad = [Rejection(i, Stage.DECODE, "") for i in range(rejections)]
    return Outcome([], len(scores), 1, bad, decisions, "v1", np.array(scores))


def samples(metrics: ScorerMetrics) -> dict[tuple[str, ...], float]:
    """Name and label values → value, as a scraper parses them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_documented_names_are_exposed() -> None:
    metrics = ScorerMetrics()
    metrics.model.loaded("v3", 0.5)
    metrics.partitions.set_lag({0: 1}, 1)
    metrics.batches.committed(polled(3), outcome([0.1, 0.2], 1), 0.01)
    assert set(DOCUMENTED) <= {name for name, *_ in samples(metrics)}


def test_committed_batches_add_up() -> None:
    metrics = ScorerMetrics()
    metrics.batches.committed(polled(3), outcome([0.1, 0.9], 1), 0.01)
    metrics.batches.committed(polled(2), outcome([0.1, 0.2]), 0.02)
    found = samples(metrics)
    assert found["prediction_count_total",] == 4
    assert found["fraud_scorer_batches_total",] == 2
    assert found["fraud_scorer_decisions_total", "APPROVE"] == 2
    assert found["fraud_scorer_decisions_total", "REVIEW"] == 2
    assert found["fraud_scorer_dead_letters_total", "decode"] == 1
    assert found["fraud_scorer_batch_records_sum",] == 5
    assert found["fraud_scorer_batch_seconds_sum",] == pytest.approx(0.03)
    assert found["fraud_scorer_score_count",] == 4
    assert found["fraud_scorer_score_sum",] == pytest.approx(1.3)


def test_one_model_version_is_exposed_at_a_time() -> None:
    metrics = ScorerMetrics()
    for version in ("v1", "v2", "v2", "v1"):
        metrics.model.loaded(version, 1.0)
        shown = {k: v for k, v in samples(metrics).items() if k[0] == "model_version"}
        assert shown == {("model_version", version): 1.0}


def test_lag_is_exposed_for_exactly_the_partitions_owned_now() -> None:
    metrics = ScorerMetrics()
    for lag in ({0: 5, 1: 7}, {1: 3}, {}, {2: 0}):
        metrics.partitions.set_lag(lag, len(lag))
        found = samples(metrics)
        shown = {k[1]: v for k, v in found.items() if k[0] == "fraud_scorer_lag_records"}
        assert shown == {str(p): float(n) for p, n in lag.items()}
        assert found["fraud_scorer_assigned_partitions",] == len(lag)


def test_labels_have_a_bounded_number_of_values() -> None:
    metrics = ScorerMetrics()
    metrics.batches.committed(polled(3), outcome([0.1, 0.2], 1), 0.01)
    labels = {
        label
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        for label in sample.labels
    }
    assert labels <= {
        "decision", "stage", "partition", "version", "le", "reason", "figure", "step", "bin",
        "result", "model", "champion", "challenger",
    }  # fmt: skip


def counts(values: list[float]) -> dict[str, float]:
    histogram = BatchHistogram("score", "Scores.")
    histogram.observe(np.array(values))
    (metric,) = histogram.collect()
    return {s.labels["le"]: s.value for s in metric.samples if s.name == "score_bucket"}


def test_bucket_includes_its_upper_bound_and_nothing_above() -> None:
    for step in range(1, 21):
        bound = step / 20
        found = counts([bound, float(np.nextafter(bound, 2))])
        assert [n for le, n in found.items() if le == str(bound)] == [1.0]
        assert [n for le, n in found.items() if le == "+Inf"] == [2.0]


def test_buckets_agree_with_counting_values_individually() -> None:
    values = [0.0, 1.0, *np.random.default_rng(0).random(500).tolist()]
    for le, n in counts(values).items():
        assert n == sum(value <= float(le) for value in values)


def test_histogram_without_values_is_all_zero() -> None:
    assert set(counts([]).values()) == {0.0}


def test_lost_inputs_are_counted_by_their_growth() -> None:
    metrics = ScorerMetrics()
    metrics.partitions.set_lost({})
    for lost in ({0: 4}, {0: 4}, {0: 6, 1: 3}):
        metrics.partitions.set_lost(lost)
    found = {k: v for k, v in samples(metrics).items() if k[0] == "fraud_scorer_inputs_lost_total"}
    assert found == {
        ("fraud_scorer_inputs_lost_total", "0"): 6,
        ("fraud_scorer_inputs_lost_total", "1"): 3,
    }
