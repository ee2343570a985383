"""The metrics of a run, with their documented names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    push_to_gateway,
    pushadd_to_gateway,
    write_to_textfile,
)

from stream_scorer.errors import UsageError
from stream_scorer.runtime.masking import mask_userinfo

log = logging.getLogger(__name__)

JOB: Final = "fraud-trainer"
PUSH_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class RunMeasures:
    """The measures of a finished run."""

    training_seconds: float
    feature_seconds: float
    ingested_rows: int
    test_metrics: Mapping[str, Any]
    is_promoted: bool
    is_refused: bool = False


def build_registry(run: RunMeasures) -> CollectorRegistry:
    """The metrics of one run, in a registry of its own."""
    registry = CollectorRegistry()
    gauges = {
        "training_duration_seconds": ("whole training run, in seconds", run.training_seconds),
        "model_accuracy": (
            "share of test rows whose flag agrees with the label; judge by average precision",
            run.test_metrics["accuracy"],
        ),
        "feature_engineering_time": (
            "seconds spent on fitting and building features",
            run.feature_seconds,
        ),
        "feature_engineering_time_seconds": (
            "seconds spent on fitting and building features",
            run.feature_seconds,
        ),
        "fraud_scorer_training_average_precision": (
            "average precision on test rows",
            run.test_metrics["average_precision"],
        ),
        "fraud_scorer_training_recall_top_2_percent": (
            "share of frauds among the 2 % of test rows with the highest scores",
            run.test_metrics["top"]["0.02"]["recall"],
        ),
        "fraud_scorer_training_promoted": (
            "1 if the run's version was promoted, else 0",
            float(run.is_promoted),
        ),
        "fraud_scorer_training_refused": (
            "1 if the gate refused the run's version and nobody promoted it by force, else 0",
            float(run.is_refused),
        ),
    }
    for name, (meaning, value) in gauges.items():
        Gauge(name, meaning, registry=registry).set(value)
    Gauge(
        "fraud_scorer_training_last_success_timestamp_seconds",
        "when the last run that published a version ended",
        registry=registry,
    ).set_to_current_time()
    Counter("data_ingestion_rows", "rows read for training", registry=registry).inc(
        run.ingested_rows
    )
    return registry


def build_failure() -> CollectorRegistry:
    """The metrics of a failed run; the next successful push removes them."""
    registry = CollectorRegistry()
    Gauge(
        "fraud_scorer_training_failed_timestamp_seconds",
        "when the last run failed; gone after a successful one",
        registry=registry,
    ).set_to_current_time()
    return registry


def write_metrics(registry: CollectorRegistry, path: Path) -> None:
    """Write a file for node_exporter's textfile collector, atomically.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def push_metrics(registry: CollectorRegistry, url: str) -> None:
    """Push the metrics to a Pushgateway; a failure is only logged, since training succeeded."""
    try:
        push_to_gateway(url, JOB, registry, timeout=PUSH_TIMEOUT_SECONDS)
    except (OSError, ValueError) as error:
        log.warning("could not push metrics to %s", mask_userinfo(f"{url}: {error}"))


def push_failure(url: str) -> None:
    """Push the failure of a run to a Pushgateway, keeping the metrics of the last good run."""
    try:
        pushadd_to_gateway(url, JOB, build_failure(), timeout=PUSH_TIMEOUT_SECONDS)
    except (OSError, ValueError) as error:
        log.warning("could not push the failure to %s", mask_userinfo(f"{url}: {error}"))
