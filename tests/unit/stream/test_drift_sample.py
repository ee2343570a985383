"""Feature values that leave the pipeline for the drift counters: they change nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from stream_scorer.drift.feature_counts import COUNTED_SHARE
from stream_scorer.drift.features import choose_rows
from stream_scorer.model.bundle import Bundle
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.pipeline import Pipeline
from tests.support.drift.kit import WATCHED, bundle_with_reference
from tests.support.factories import make_batch, make_bundle
from tests.support.scoring_kit import NOW_MS, make_pipeline, make_polled, make_value, raising
from tests.support.scoring_kit import make_values as values_of

ROWS = 400


def process(bundle: Bundle, pipeline: Pipeline | None = None, *extra: bytes | None) -> Outcome:
    values = [*values_of(ROWS), *extra]
    return (pipeline or make_pipeline()).process(make_polled(values), bundle, NOW_MS)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_with_reference()


def test_outcomes_have_the_same_bytes_with_and_without_the_sample(bundle: Bundle) -> None:
    with_sample = process(bundle, None, b"hello", make_value(9, amount=float("nan")))
    pipeline = make_pipeline()
    pipeline._with_sample = False
    without = process(bundle, pipeline, b"hello", make_value(9, amount=float("nan")))
    assert with_sample.sample is not None
    assert without.sample is None
    assert with_sample.records == without.records
    assert with_sample.scores.tobytes() == without.scores.tobytes()
    assert with_sample.rejections == without.rejections


def test_sample_has_the_models_own_feature_values_of_the_chosen_rows(bundle: Bundle) -> None:
    polled = make_polled(values_of(ROWS))
    sample = make_pipeline().process(polled, bundle, NOW_MS).sample
    assert sample is not None
    assert tuple(one.name for one in sample.references.features) == WATCHED
    matrix = bundle.features.transform(make_batch(ROWS, 5))
    columns = [bundle.features.names.index(name) for name in WATCHED]
    rows = choose_rows(polled.offsets, COUNTED_SHARE)
    assert 0 < rows.sum() < ROWS / 4
    np.testing.assert_array_equal(sample.values, matrix[rows][:, columns])


def test_rejected_rows_are_not_in_the_sample(bundle: Bundle) -> None:
    rejecting = raising(bundle, 777.0)
    values = values_of(ROWS)
    polled = make_polled(values)
    chosen = np.flatnonzero(choose_rows(polled.offsets, COUNTED_SHARE)).tolist()
    values[chosen[0]] = make_value(1, amount=777.0)
    values[chosen[1]] = b"hello"
    outcome = make_pipeline().process(make_polled(values), rejecting, NOW_MS)
    assert len(outcome.rejections) == 2
    assert outcome.sample is not None
    assert len(outcome.sample.values) == len(chosen) - 2
    assert 777.0 not in outcome.sample.values[:, 0]


def test_version_without_histograms_has_no_sample() -> None:
    assert process(make_bundle()).sample is None


def test_promotion_changes_the_histograms_with_the_batch(bundle: Bundle) -> None:
    other = bundle_with_reference(ranked=("C1",), version="v2")
    pipeline = make_pipeline()
    for version, one in (("v1", bundle), ("v2", other), ("v1", bundle)):
        sample = process(one, pipeline).sample
        assert sample is not None
        assert sample.references.version == version
        assert sample.values.shape[1] == len(sample.references.features)


def test_scrape_has_counts_and_expected_shares_by_bin(bundle: Bundle) -> None:
    metrics = ScorerMetrics()
    outcome = process(bundle)
    metrics.drift.committed(outcome.sample)
    metrics.drift.committed(None)
    lines = metrics.render().decode().splitlines()
    assert outcome.sample is not None
    rows = len(outcome.sample.values)
    assert f'fraud_scorer_drift_rows_total{{version="v1"}} {float(rows)}' in lines
    for name in WATCHED:
        found = [one for one in lines if f'feature="{name}"' in one and 'version="v1"' in one]
        counts = [one for one in found if one.startswith("fraud_scorer_drift_bin_total")]
        shares = [one for one in found if one.startswith("fraud_scorer_drift_reference_share")]
        assert sum(float(one.split()[-1]) for one in counts) == rows
        assert sum(float(one.split()[-1]) for one in shares) == pytest.approx(1)
        assert any('bin="missing"' in one for one in counts)
        assert len(counts) == len(shares)
