"""Live scores by bin of the serving version's reference histogram."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.reference import Reference, read_reference, stability_index
from stream_scorer.drift.score_bins import ScoreBins
from stream_scorer.model.bundle import Bundle, created_at
from stream_scorer.observability.metrics import ScorerMetrics
from tests.support.factories import make_bundle


def bundle_with(version: str, edges: list[float], counts: list[int], **more: Any) -> Bundle:
    reference = {"scores": {"edges": edges, "counts": counts}}
    return replace(make_bundle(), version=version, metadata={"reference": reference, **more})


def reference_of(bundle: Bundle) -> Reference:
    return read_reference(bundle.metadata)


def test_scores_are_counted_into_the_references_bins() -> None:
    bins, bundle = ScoreBins(), bundle_with("v1", [0.1, 0.5], [6, 3, 1])
    bins.count("v1", reference_of(bundle), np.array([0.05, 0.1, 0.4, 0.9]))
    bins.count("v1", reference_of(bundle), np.array([0.5]))
    figures = bins.figures()
    assert figures is not None
    version, counts, shares = figures
    assert (version, counts) == ("v1", [1, 2, 2])
    assert sum(shares) == pytest.approx(1)
    assert shares[0] > shares[1] > shares[2]


def test_new_version_starts_with_empty_bins() -> None:
    bins = ScoreBins()
    bins.count("v1", reference_of(bundle_with("v1", [0.1, 0.5], [6, 3, 1])), np.array([0.2]))
    bins.count("v2", reference_of(bundle_with("v2", [0.3], [1, 1])), np.array([0.2, 0.4]))
    assert bins.figures() == ("v2", [1, 1], [0.5, 0.5])


def test_batch_of_a_replaced_version_is_not_counted() -> None:
    bins = ScoreBins()
    bins.count("v1", None, np.array([0.2]))
    assert bins.figures() is None


def test_version_without_a_reference_has_no_figures() -> None:
    bins = ScoreBins()
    bins.count("v1", Reference(), np.array([0.2]))
    assert bins.figures() is None
    metrics = ScorerMetrics()
    metrics.batches.count_bins("v1", Reference(), np.array([0.2]))
    assert "fraud_scorer_score_bin_total{" not in metrics.render().decode()


def test_scrape_has_what_the_stability_index_needs() -> None:
    metrics, bundle = ScorerMetrics(), bundle_with("v1", [0.1, 0.5], [6, 3, 1])
    metrics.batches.count_bins("v1", reference_of(bundle), np.array([0.05, 0.2, 0.3, 0.9]))
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in metrics.render().decode().splitlines()
        if line.startswith("fraud_scorer_score_bin_")
    }
    counts = [values[f'fraud_scorer_score_bin_total{{bin="{n}",version="v1"}}'] for n in range(3)]
    shares = [
        values[f'fraud_scorer_score_bin_expected{{bin="{n}",version="v1"}}'] for n in range(3)
    ]
    # As in the recording rules.
    actual = [(c + 0.5) / (sum(counts) + 1.5) for c in counts]
    psi = sum((a - e) * math.log(a / e) for a, e in zip(actual, shares, strict=True))
    assert psi == pytest.approx(stability_index(np.array([1, 2, 1]), np.array(shares)))


@pytest.mark.parametrize("given", [None, 5, "yesterday", ""])
def test_invalid_creation_time_is_none(given: object) -> None:
    assert created_at({"created_at": given}) is None


def test_time_of_training_is_read_from_the_metadata() -> None:
    assert created_at({"created_at": "2026-01-01T12:00:00+00:00"}) == 1767268800
