"""Every metric of the scorer: name, type and meaning in one place.

The metrics come in six groups: the batches of the loop, the model that scores them, the input
partitions, card histories, drift, and the challenger. A caller reports events to a group's methods
and never sees its metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from schemas.rejections import Stage
from stream_scorer.drift.reference import Reference
from stream_scorer.drift.score_bins import ScoreBins
from stream_scorer.model.serving.guard import CAUSES, Trip
from stream_scorer.observability.collectors import BatchHistogram, BinCollector, start_at_zero
from stream_scorer.observability.drift_metrics import DriftMetrics
from stream_scorer.observability.history_metrics import HistoryMetrics
from stream_scorer.observability.shadow_metrics import ShadowMetrics
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DECISIONS: Final = ("APPROVE", "REVIEW", "BLOCK")
STEPS: Final = ("score", "publish", "commit")  # of a batch: one of the CPU, two of Kafka
_ROWS: Final = (1, 5, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10000)


class BatchMetrics:
    """The batches of the loop: their number, size, time and outcomes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._predictions = Counter(
            "prediction_count_total", "Transactions scored.", registry=registry
        )
        self._decisions = Counter(
            "fraud_scorer_decisions_total", "Scores by decision.", ["decision"], registry=registry
        )
        self._sampled = Counter(
            "fraud_scorer_review_sampled_total",
            "Unflagged transactions chosen at random for review.",
            registry=registry,
        )
        self._dead_letters = Counter(
            "fraud_scorer_dead_letters_total",
            "Dead letters by the stage that rejected the record.",
            ["stage"],
            registry=registry,
        )
        self._batches = Counter(
            "fraud_scorer_batches_total", "Batches committed.", registry=registry
        )
        self._aborts = Counter(
            "fraud_scorer_aborts_total", "Batches aborted and retried.", registry=registry
        )
        self._seconds = Histogram(
            "fraud_scorer_batch_seconds",
            "Time of a batch from poll to commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._records = Histogram(
            "fraud_scorer_batch_records", "Records in a batch.", buckets=_ROWS, registry=registry
        )
        self._step_seconds = Histogram(
            "fraud_scorer_step_seconds",
            "Time of a batch by step. The score step decodes, scores and encodes.",
            ["step"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "fraud_scorer_in_flight_records",
            "Records polled and not committed yet.",
            registry=registry,
        )
        self._scores = BatchHistogram("fraud_scorer_score", "Distribution of the scores.")
        self._bins = ScoreBins()
        registry.register(self._scores)
        registry.register(BinCollector(self._bins))
        start_at_zero(self._decisions, _DECISIONS)
        start_at_zero(self._dead_letters, (stage.value for stage in Stage))
        start_at_zero(self._step_seconds, STEPS)

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """Count a committed batch."""
        self._predictions.inc(outcome.scored)
        self._batches.inc()
        self._seconds.observe(seconds)
        self._records.observe(len(polled))
        for decision, count in outcome.decisions.items():
            self._decisions.labels(decision).inc(count)
        self._sampled.inc(outcome.sampled)
        for rejection in outcome.rejections:
            self._dead_letters.labels(rejection.stage.value).inc()
        self._scores.observe(outcome.scores)

    def count_bins(
        self, version: str, reference: Reference | None, scores: NDArray[np.float64]
    ) -> None:
        """Count a batch's scores into the bins of its model version's reference histogram."""
        self._bins.count(version, reference, scores)

    def aborted(self) -> None:
        """Count a batch that was aborted and will be retried."""
        self._aborts.inc()

    def timed(self, step: str, seconds: float) -> None:
        """Observe the time of one of :data:`STEPS`; safe to call from any thread."""
        self._step_seconds.labels(step).observe(seconds)

    def watch_in_flight(self, in_flight: Callable[[], float]) -> None:
        """Set the function that each scrape calls for the number of records in flight."""
        self._in_flight.set_function(in_flight)


class ModelMetrics:
    """The model version that scores, its probation, and how well it follows the store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loaded: str | None = None
        self._version = Gauge(
            "model_version", "1 for the version that scores now.", ["version"], registry=registry
        )
        self._load_seconds = Gauge(
            "model_load_time_seconds", "Time the last load took.", registry=registry
        )
        self._created = Gauge(
            "fraud_scorer_model_created_timestamp_seconds",
            "When the version that scores now was trained.",
            registry=registry,
        )
        self._behind = Gauge(
            "fraud_scorer_model_behind",
            "1 while this scorer does not run the promoted version, unless that was rejected.",
            registry=registry,
        )
        self._reload_failing = Gauge(
            "fraud_scorer_model_reload_failing",
            "1 while the last check of the artifact store, or the load it led to, failed.",
            registry=registry,
        )
        self._seconds_since_answer = Gauge(
            "fraud_scorer_model_store_silence_seconds",
            "Seconds since the artifact store last answered.",
            registry=registry,
        )
        self._refusals = Counter(
            "fraud_scorer_model_refusals_total",
            "Versions that could not be loaded or must not be used.",
            registry=registry,
        )
        self._guard_trips = Counter(
            "fraud_scorer_model_guard_tripped_total",
            "Versions that failed their guard here during probation, by cause.",
            ["reason"],
            registry=registry,
        )
        self._on_probation = Gauge(
            "fraud_scorer_model_on_probation",
            "1 while the version that scores is on probation.",
            registry=registry,
        )
        self._rolled_back = Gauge(
            "fraud_scorer_model_fallen_back",
            "1 while a previous version scores because the promoted one was rejected.",
            registry=registry,
        )
        self._probation_figures = Gauge(
            "fraud_scorer_model_probation",
            "Figures of the version on probation: rows, error_share, flag_rate, psi.",
            ["figure"],
            registry=registry,
        )
        start_at_zero(self._guard_trips, CAUSES)

    def loaded(self, version: str, seconds: float) -> None:
        """A model version took over after a load of ``seconds``."""
        self.set_version(version)
        self._load_seconds.set(seconds)

    def set_version(self, version: str) -> None:
        """The version that scores: the previous one while a new one waits for its history."""
        # The new version first: a scrape in between must find at least one.
        self._version.labels(version).set(1)
        if self._loaded not in (None, version):
            self._version.remove(self._loaded)
        self._loaded = version

    def refused(self) -> None:
        """Count a version that was refused."""
        self._refusals.inc()

    def tripped(self, trip: Trip) -> None:
        """Count a version that failed its guard."""
        self._guard_trips.labels(trip.cause).inc()

    def set_status(self, created: float | None, *, is_behind: bool, is_failing: bool) -> None:
        """When the current version was trained (epoch seconds), and whether reloads work."""
        if created is not None:
            self._created.set(created)
        self._behind.set(is_behind)
        self._reload_failing.set(is_failing)

    def set_seconds_since_answer(self, seconds: float) -> None:
        """Set the seconds since the artifact store last answered."""
        self._seconds_since_answer.set(seconds)

    def set_probation(self, figures: Mapping[str, float] | None, *, is_rolled_back: bool) -> None:
        """Set the figures of the version on probation (None: no version is)."""
        self._on_probation.set(figures is not None)
        self._rolled_back.set(is_rolled_back)
        self._probation_figures.clear()
        for name, value in (figures or {}).items():
            self._probation_figures.labels(name).set(value)


class PartitionMetrics:
    """The input partitions of this group member: assignment, lag and progress."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._with_lag: set[int] = set()
        self._with_progress: set[int] = set()
        self._assigned = Gauge(
            "fraud_scorer_assigned_partitions", "Input partitions owned.", registry=registry
        )
        self._rebalances = Counter(
            "fraud_scorer_rebalances_total",
            "Changes of the input partitions owned.",
            registry=registry,
        )
        self._lag = Gauge(
            "fraud_scorer_lag_records",
            "Records not yet read, by input partition.",
            ["partition"],
            registry=registry,
        )
        self._stuck = Gauge(
            "fraud_scorer_partition_stuck",
            "1 for an input partition that has records to read and makes no progress.",
            ["partition"],
            registry=registry,
        )
        self._seconds_without_progress = Gauge(
            "fraud_scorer_partition_seconds_without_progress",
            "Seconds that an input partition had records to read and made no progress.",
            ["partition"],
            registry=registry,
        )

        self._lost = Counter(
            "fraud_scorer_inputs_lost_total",
            "Inputs that were removed before they were read, by input partition.",
            ["partition"],
            registry=registry,
        )
        self._counted_lost: dict[int, int] = {}

    def set_lost(self, lost: Mapping[int, int]) -> None:
        """Count lost inputs up to these numbers since the start, by partition."""
        for partition, records in lost.items():
            self._lost.labels(str(partition)).inc(records - self._counted_lost.get(partition, 0))
        self._counted_lost = dict(lost)

    def rebalanced(self) -> None:
        """Count a change of the assigned partitions."""
        self._rebalances.inc()

    def set_lag(self, lag: Mapping[int, int], assigned: int) -> None:
        """Replace the lag of every partition; those no longer owned disappear."""
        for partition, records in lag.items():
            self._lag.labels(str(partition)).set(records)
        for partition in self._with_lag - lag.keys():
            self._lag.remove(str(partition))
        self._with_lag = set(lag)
        self._assigned.set(assigned)

    def set_progress(self, seconds: Mapping[int, float], stuck: Container[int]) -> None:
        """Replace the seconds without progress; partitions no longer owned disappear."""
        for partition, quiet in seconds.items():
            self._seconds_without_progress.labels(str(partition)).set(quiet)
            self._stuck.labels(str(partition)).set(partition in stuck)
        for partition in self._with_progress - seconds.keys():
            self._seconds_without_progress.remove(str(partition))
            self._stuck.remove(str(partition))
        self._with_progress = set(seconds)


class ScorerMetrics:
    """The scorer's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batches = BatchMetrics(self.registry)
        self.model = ModelMetrics(self.registry)
        self.partitions = PartitionMetrics(self.registry)
        self.history = HistoryMetrics(self.registry)
        self.drift = DriftMetrics(self.registry)
        self.shadow = ShadowMetrics(self.registry)
        self._identity = Gauge(
            "fraud_scorer_info",
            "1; the labels name the group and the input topic of this scorer.",
            ["group", "topic"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)  # memory, CPU, open files, start time

    def identify(self, group: str, topic: str) -> None:
        """Set the consumer group and input topic of this scorer."""
        self._identity.labels(group, topic).set(1)

    def render(self) -> bytes:
        """The text format of a scrape."""
        return generate_latest(self.registry)
