"""The challenger's metrics, as a scraper reads them."""

from __future__ import annotations

import math

import numpy as np

from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.shadow.figures import count


def value(metrics: ScorerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"fraud_scorer_shadow_{name}", labels)


def test_figures_of_both_versions_are_counted_and_start_over_with_each_version() -> None:
    metrics = ScorerMetrics()
    assert value(metrics, "decisions_total", champion="BLOCK", challenger="APPROVE") == 0
    metrics.shadow.loaded("v2")
    figures = count(
        np.array([0.05, 0.9]), np.array([0, 2], np.uint8), np.array([0.7, 0.9]),
        np.array([1, 2], np.uint8),
    )  # fmt: skip
    metrics.shadow.scored(figures, 0.5)
    metrics.shadow.scored(figures, 0.25)
    assert value(metrics, "version", version="v2") == 1
    assert value(metrics, "rows_total") == 4
    assert value(metrics, "seconds_total") == 0.75
    assert value(metrics, "decisions_total", champion="APPROVE", challenger="REVIEW") == 2
    assert value(metrics, "agreement") == 0.5
    assert value(metrics, "psi") == (figures + figures).stability_index
    assert value(metrics, "score_bin_total", model="champion", bin="9") == 2
    assert value(metrics, "score_bin_total", model="challenger", bin="8") == 2
    metrics.shadow.loaded(None)
    assert value(metrics, "version", version="v2") is None
    agreement = value(metrics, "agreement")
    assert agreement is not None
    assert math.isnan(agreement)


def test_what_is_left_out_fails_or_hangs_is_counted() -> None:
    metrics = ScorerMetrics()
    assert value(metrics, "shed_total", reason="behind") == 0
    metrics.shadow.shed("queue", 7)
    metrics.shadow.failed(5)
    metrics.shadow.refused()
    metrics.shadow.disabled()
    assert value(metrics, "shed_total", reason="queue") == 7
    assert value(metrics, "errors_total") == 5
    assert value(metrics, "refusals_total") == 1
    assert value(metrics, "disabled") == 1
