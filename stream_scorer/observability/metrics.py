"""Every metric of the scorer: name, kind and meaning in one place."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from schemas.rejections import Stage
from stream_scorer.drift.score_bins import ScoreBins
from stream_scorer.model.serving.guard import CAUSES, Trip
from stream_scorer.observability.collectors import BatchHistogram, BinCollector
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DECISIONS: Final = ("APPROVE", "REVIEW", "BLOCK")
STEPS: Final = ("score", "publish", "commit")  # of a batch: the CPU's, and the two of Kafka
_ROWS: Final = (1, 5, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10000)


class ScorerMetrics:
    """The scorer's metrics in a registry of their own."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._lagging: set[int] = set()
        self._watched: set[int] = set()
        self.registry = registry = CollectorRegistry()
        self.predictions = Counter(
            "prediction_count_total", "Transactions scored.", registry=registry
        )
        self.decisions = Counter(
            "fraud_scorer_decisions_total", "Scores by decision.", ["decision"], registry=registry
        )
        self.dead_letters = Counter(
            "fraud_scorer_dead_letters_total",
            "Dead letters by stage.",
            ["stage"],
            registry=registry,
        )
        self.batches = Counter(
            "fraud_scorer_batches_total", "Batches committed.", registry=registry
        )
        self.aborts = Counter(
            "fraud_scorer_aborts_total", "Batches put off and tried again.", registry=registry
        )
        self.batch_seconds = Histogram(
            "fraud_scorer_batch_seconds",
            "From poll to commit, by batch.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_records = Histogram(
            "fraud_scorer_batch_records", "Records in a batch.", buckets=_ROWS, registry=registry
        )
        self.scores = BatchHistogram("fraud_scorer_score", "Distribution of the scores.")
        registry.register(self.scores)
        self.bins = ScoreBins()
        registry.register(BinCollector(self.bins))
        ProcessCollector(registry=registry)  # memory, CPU, open files, start time
        self.identity = Gauge(
            "fraud_scorer_info", "1; whose scorer this is.", ["group", "topic"], registry=registry
        )
        self.step_seconds = Histogram(
            "fraud_scorer_step_seconds",
            "Time of a batch by step: score is decoding, scoring and encoding.",
            ["step"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "fraud_scorer_in_flight_records",
            "Records polled and not committed yet.",
            registry=registry,
        )
        self.rebalances = Counter(
            "fraud_scorer_rebalances_total",
            "Times the partitions owned became others.",
            registry=registry,
        )
        self.model_created = Gauge(
            "fraud_scorer_model_created_timestamp_seconds",
            "When the version that scores now was trained.",
            registry=registry,
        )
        self.model_behind = Gauge(
            "fraud_scorer_model_behind",
            "1 while the store promotes another version than scores, rejected ones left out.",
            registry=registry,
        )
        self.reload_failing = Gauge(
            "fraud_scorer_model_reload_failing",
            "1 while the last look at the artifact store came to nothing good.",
            registry=registry,
        )
        self.store_silence = Gauge(
            "fraud_scorer_model_store_silence_seconds",
            "Time since the artifact store last answered.",
            registry=registry,
        )
        self.lag = Gauge(
            "fraud_scorer_lag_records",
            "Records not yet read, by input partition.",
            ["partition"],
            registry=registry,
        )
        self.partition_stuck = Gauge(
            "fraud_scorer_partition_stuck",
            "1 for an input partition with records to read that does not move.",
            ["partition"],
            registry=registry,
        )
        self.partition_quiet_seconds = Gauge(
            "fraud_scorer_partition_seconds_without_progress",
            "Time an input partition had records to read and did not move; 0 with progress.",
            ["partition"],
            registry=registry,
        )
        self.assigned = Gauge(
            "fraud_scorer_assigned_partitions", "Input partitions owned.", registry=registry
        )
        self.model_version = Gauge(
            "model_version", "1 for the version that scores now.", ["version"], registry=registry
        )
        self.model_load_seconds = Gauge(
            "model_load_time_seconds", "Time the last load took.", registry=registry
        )
        self.model_refusals = Counter(
            "fraud_scorer_model_refusals_total", "Versions that were refused.", registry=registry
        )
        self.guard_trips = Counter(
            "fraud_scorer_model_guard_tripped_total",
            "Versions rejected here in their first minutes, by what was wrong.",
            ["reason"],
            registry=registry,
        )
        for cause in CAUSES:  # a rise from nothing is seen only where there was a zero
            self.guard_trips.labels(cause)
        # The same for these.
        for step in STEPS:
            self.step_seconds.labels(step)
        for decision in _DECISIONS:
            self.decisions.labels(decision)
        for stage in Stage:
            self.dead_letters.labels(stage.value)
        self.on_probation = Gauge(
            "fraud_scorer_model_on_probation",
            "1 while the version that scores is in its first minutes.",
            registry=registry,
        )
        self.has_fallen_back = Gauge(
            "fraud_scorer_model_fallen_back",
            "1 while an older version scores because the promoted one is rejected.",
            registry=registry,
        )
        self.probation_figures = Gauge(
            "fraud_scorer_model_probation",
            "Figures of the version on probation: rows, error_share, flag_rate, psi.",
            ["figure"],
            registry=registry,
        )

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """Count a committed batch."""
        self.predictions.inc(outcome.scored)
        self.batches.inc()
        self.batch_seconds.observe(seconds)
        self.batch_records.observe(len(polled))
        for decision, count in outcome.decisions.items():
            self.decisions.labels(decision).inc(count)
        for rejection in outcome.rejections:
            self.dead_letters.labels(rejection.stage.value).inc()
        self.scores.observe(outcome.scores)

    def loaded(self, version: str, seconds: float) -> None:
        """A model version took over."""
        # The new one first: a scrape in between must not find none.
        self.model_version.labels(version).set(1)
        if self._version not in (None, version):
            self.model_version.remove(self._version)
        self._version = version
        self.model_load_seconds.set(seconds)

    def timed(self, step: str, seconds: float) -> None:
        """A step of a batch took so long."""
        self.step_seconds.labels(step).observe(seconds)

    def set_model(self, created: float | None, is_behind: bool, is_failing: bool) -> None:
        """When the version in use was trained (epoch seconds), and how following the store goes."""
        if created is not None:
            self.model_created.set(created)
        self.model_behind.set(is_behind)
        self.reload_failing.set(is_failing)

    def tripped(self, _: str, trip: Trip) -> None:
        """A version on probation was found out."""
        self.guard_trips.labels(trip.cause).inc()

    def set_guard(self, figures: Mapping[str, float] | None, has_fallen_back: bool) -> None:
        """How the version on probation does (None: there is none)."""
        self.on_probation.set(figures is not None)
        self.has_fallen_back.set(has_fallen_back)
        self.probation_figures.clear()
        for name, value in (figures or {}).items():
            self.probation_figures.labels(name).set(value)

    def set_lag(self, lag: Mapping[int, int], assigned: int) -> None:
        """Replace the lag of every partition; those no longer owned disappear."""
        for partition, records in lag.items():
            self.lag.labels(str(partition)).set(records)
        for partition in self._lagging - lag.keys():
            self.lag.remove(str(partition))
        self._lagging = set(lag)
        self.assigned.set(assigned)

    def set_progress(self, seconds: Mapping[int, float], stuck: Container[int]) -> None:
        """Replace the seconds without progress; partitions no longer owned disappear."""
        for partition, quiet in seconds.items():
            self.partition_quiet_seconds.labels(str(partition)).set(quiet)
            self.partition_stuck.labels(str(partition)).set(partition in stuck)
        for partition in self._watched - seconds.keys():
            self.partition_quiet_seconds.remove(str(partition))
            self.partition_stuck.remove(str(partition))
        self._watched = set(seconds)

    def render(self) -> bytes:
        """The text format of a scrape."""
        return generate_latest(self.registry)
