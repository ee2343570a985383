"""The metrics of a run, ``fraud_model_live_*``, for a file or a Pushgateway.

Only the newest versions have metrics, so that a topic of random version names makes no series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile

from stream_scorer.errors import UsageError

JOB: Final = "fraud-quality"
PUSH_TIMEOUT_SECONDS: Final = 10.0
MAX_VERSIONS: Final = 5

_ENDS: Final = ("", "_low", "_high")
_MEANINGS: Final = (
    ("precision", "share of fraud among live scores with at least this decision"),
    ("precision_change", "live precision minus the one that the version's metadata states"),
    ("recall", "share of frauds with at least this decision"),
)


class _Gauges:
    def __init__(self, registry: CollectorRegistry) -> None:
        by_source = ("version", "threshold", "source")
        self.levels = {
            name + end: Gauge(
                f"fraud_model_live_{name}{end}", meaning + _end(end), by_source, registry=registry
            )
            for name, meaning in _MEANINGS
            for end in _ENDS
        }
        self.average_precision = {
            end: Gauge(
                f"fraud_model_live_average_precision{end}",
                "average precision on mature scores" + _end(end),
                ("version",),
                registry=registry,
            )
            for end in _ENDS
        }
        self.rows = Gauge(
            "fraud_model_live_scores", "scores in the window", ("version",), registry=registry
        )
        self.labelled = Gauge(
            "fraud_model_live_labelled", "labels in the window, by what they say",
            ("version", "source", "label"), registry=registry,
        )  # fmt: skip
        self.calibration = Gauge(
            "fraud_model_live_calibration_error",
            "mean distance between score and share of fraud, on mature scores",
            ("version",), registry=registry,
        )  # fmt: skip
        self.money = Gauge(
            "fraud_model_live_fraud_amount", "amount of labelled fraud in the window",
            ("version", "outcome"), registry=registry,
        )  # fmt: skip
        self.is_current = Gauge(
            "fraud_model_live_current", "1 for the version of the latest score, else 0",
            ("version",), registry=registry,
        )  # fmt: skip
        self.problems = Gauge(
            "fraud_model_live_problems", "labels and scores left out or in doubt, by reason",
            ("reason",), registry=registry,
        )  # fmt: skip


def _end(end: str) -> str:
    return "" if not end else f", {end[1:]} end of the 95 % interval"


def build_registry(result: Mapping[str, Any]) -> CollectorRegistry:
    """The metrics of a result, in a registry of its own."""
    registry = CollectorRegistry()
    gauges = _Gauges(registry)
    for position, version in enumerate(result["versions"][:MAX_VERSIONS]):
        _set_version(gauges, version, is_current=position == 0)
    for reason, number in result["problems"].items():
        gauges.problems.labels(reason).set(number)
    Gauge(
        "fraud_model_live_last_success_timestamp_seconds",
        "when the last run of live quality began that read all scores",
        registry=registry,
    ).set(result["computed_at"] / 1000)
    return registry


def _set_version(gauges: _Gauges, version: Mapping[str, Any], *, is_current: bool) -> None:
    name = version["version"]
    gauges.is_current.labels(name).set(is_current)
    gauges.rows.labels(name).set(version["rows"])
    for metric in ("precision", "precision_change", "recall"):
        for threshold, by_source in version[metric].items():
            for source, figure in by_source.items():
                for end, value in _ends_of(figure):
                    gauges.levels[metric + end].labels(name, threshold, source).set(value)
    for end, value in _ends_of(version["average_precision"]["matured"]):
        gauges.average_precision[end].labels(name).set(value)
    for source in ("matured", "reviewed", "sampled"):
        for label in ("frauds", "legitimate"):
            number = version["labels"][source][label]
            gauges.labelled.labels(name, source, label).set(number)
    error = version["calibration"]["matured"].get("expected_calibration_error")
    if error is not None:
        gauges.calibration.labels(name).set(error)
    for outcome in ("caught", "missed"):
        gauges.money.labels(name, outcome).set(version["money"][outcome]["value"])


def _ends_of(figure: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What is known of a figure: a metric that is not known is absent, not 0."""
    if figure["value"] is not None:
        yield "", figure["value"]
    if figure["interval"] is not None:
        yield from zip(_ENDS[1:], figure["interval"], strict=True)


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
    """Replace the metrics of the last run in a Pushgateway.

    Raises:
        OSError, ValueError: it does not answer, or the URL is none.
    """
    push_to_gateway(url, JOB, registry, timeout=PUSH_TIMEOUT_SECONDS)
