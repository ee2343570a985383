"""Feature values counted into the bins of the reference histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.feature_counts import COUNTED_SHARE, FeatureCounts
from stream_scorer.drift.features import (
    MOST_FEATURES,
    FeatureSample,
    choose_rows,
    read_feature_references,
)
from trainer.evaluation.reference import DECILES, TAILS, histogram

NAMES = ("a", "b", "c")
GOOD = {"edges": [1.0, 2.0], "counts": [5, 3, 1], "missing": 1}


def references(version: str = "v1", **features: Any) -> Any:
    metadata = {"reference": {"features": features}}
    return read_feature_references(version, metadata, NAMES)


def sample(version: str, values: list[list[float]], **features: Any) -> FeatureSample:
    return FeatureSample(references(version, **(features or {"a": GOOD})), np.array(values))


def test_value_on_an_edge_belongs_to_the_bin_above_and_nan_is_missing() -> None:
    (one,) = references(b=GOOD).features
    values = np.array([0.5, 1.0, 1.5, 2.0, 9.0, np.inf, -np.inf, np.nan])
    assert one.find_bins(values).tolist() == [0, 1, 1, 2, 2, 2, 0, 3]


def test_bins_are_those_that_the_trainer_counted_into() -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(5000) < 0.2, np.nan, rng.lognormal(size=5000).round(1))
    for quantiles in (DECILES, TAILS):
        found = references(a=histogram(values, quantiles))
        (counts,) = found.count(values[:, np.newaxis])
        assert counts.tolist() == found.features[0].counts.tolist()


def test_shares_sum_to_one_and_none_is_zero() -> None:
    (one,) = references(a={"edges": [1.0], "counts": [0, 10], "missing": 0}).features
    assert one.shares.sum() == pytest.approx(1)
    assert (one.shares > 0).all()
    assert one.rows == 10


def test_columns_are_those_of_the_matrix_in_the_order_of_importance() -> None:
    found = references(c=GOOD, unknown=GOOD, a=GOOD)
    assert [one.name for one in found.features] == ["c", "a"]
    assert found.columns.tolist() == [2, 0]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        5,
        {},
        GOOD | {"edges": [2.0, 1.0]},
        GOOD | {"edges": [1.0]},
        GOOD | {"edges": ["x", "y"]},
        GOOD | {"edges": [[1.0, 2.0]]},
        GOOD | {"edges": [1.0, float("inf")]},
        GOOD | {"counts": [5, -3, 1]},
        GOOD | {"counts": [0, 0, 0], "missing": 0},
        GOOD | {"counts": 3},
        GOOD | {"missing": None},
        GOOD | {"missing": 10**400},
        {"edges": list(range(61)), "counts": [1] * 62, "missing": 0},
    ],
)
def test_invalid_histogram_is_left_out(bad: Any) -> None:
    assert [one.name for one in references(a=bad, b=GOOD).features] == ["b"]


@pytest.mark.parametrize("metadata", [{}, {"reference": 1}, {"reference": {"features": [1]}}])
def test_version_without_histograms_has_no_features(metadata: dict[str, Any]) -> None:
    assert read_feature_references("v1", metadata, NAMES).features == ()


def test_at_most_thirty_features_are_counted() -> None:
    names = [f"f{i}" for i in range(40)]
    metadata = {"reference": {"features": dict.fromkeys(names, GOOD)}}
    found = read_feature_references("v1", metadata, names)
    assert [one.name for one in found.features] == names[:MOST_FEATURES]


@pytest.mark.parametrize("period", [1, 2, 3, 4, 5, 8, 2001])
def test_sample_has_its_share_whatever_the_gaps_between_offsets(period: int) -> None:
    chosen = choose_rows(np.arange(80_000, dtype=np.int64) * period + 1, COUNTED_SHARE)
    assert chosen.mean() == pytest.approx(COUNTED_SHARE, rel=0.02)


def test_sample_depends_on_the_offset_alone() -> None:
    offsets = np.arange(1000, dtype=np.int64)
    whole = choose_rows(offsets, COUNTED_SHARE)
    parts = [choose_rows(offsets[i : i + 7], COUNTED_SHARE) for i in range(0, 1000, 7)]
    assert (np.concatenate(parts) == whole).all()
    assert choose_rows(offsets, 1.0).all()
    assert not choose_rows(offsets, 0.0).any()


def test_batches_add_up_and_missing_is_a_bin() -> None:
    counts = FeatureCounts()
    counts.add(sample("v1", [[0.0], [1.5]]))
    counts.add(sample("v1", [[np.nan], [1.2], [7.0]]))
    (found,) = counts.figures()
    assert (found.references.version, found.rows) == ("v1", 5)
    assert found.counts[0].tolist() == [1, 2, 1, 1]


def test_full_buffer_is_counted_like_a_scrape_would() -> None:
    rng, counts, total = np.random.default_rng(1), FeatureCounts(), np.zeros(4, np.int64)
    for size in (1, 0, 700, 700, 3000, 5):
        one = sample("v1", rng.uniform(0, 3, (size, 1)).tolist() or np.empty((0, 1)).tolist())
        values = one.values.reshape(size, 1)
        total += one.references.count(values)[0]
        counts.add(FeatureSample(one.references, values))
    (found,) = counts.figures()
    assert found.counts[0].tolist() == total.tolist()
    assert found.rows == 4406


def test_figures_do_not_change_after_they_were_read() -> None:
    counts = FeatureCounts()
    counts.add(sample("v1", [[0.0]]))
    (before,) = counts.figures()
    counts.add(sample("v1", [[0.0]]))
    counts.figures()
    assert before.counts[0].tolist() == [1, 0, 0, 0]


def test_version_before_is_kept_for_an_hour_and_no_third_one() -> None:
    now = 0.0
    counts = FeatureCounts(lambda: now)
    for version in ("v1", "v2", "v3"):
        counts.add(sample(version, [[0.0]]))
    assert [one.references.version for one in counts.figures()] == ["v2", "v3"]
    now = 3599.0
    assert len(counts.figures()) == 2
    now = 3601.0
    assert [one.references.version for one in counts.figures()] == ["v3"]
    now = 1e9
    assert [one.references.version for one in counts.figures()] == ["v3"]


def test_version_that_comes_back_continues_its_counts() -> None:
    counts = FeatureCounts()
    for version in ("v1", "v2", "v1"):
        counts.add(sample(version, [[0.0]]))
    rows = {one.references.version: one.rows for one in counts.figures()}
    assert rows == {"v1": 2, "v2": 1}
