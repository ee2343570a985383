"""Every metric of the dashboard: name, kind and meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from dashboard.cases.case import LABELS
from dashboard.cases.desk import DeskStatus
from dashboard.feed.board import Board, FeedState
from dashboard.history.past import Histories
from dashboard.model_status import ModelSource
from dashboard.trainings.training import REQUESTED
from dashboard.trainings.trainings import ENDED, REFUSALS, Counts

_LATENCY_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics that requests update, and the registry of all metrics."""

    registry: CollectorRegistry
    request_latency: Histogram
    request_count: Counter
    prediction_count: Counter
    history_predictions: Counter

    def count_histories(self, used: int, missing: int) -> None:
        """Count transactions that a model with history scored with the history, and without."""
        self.history_predictions.labels("true").inc(used)
        self.history_predictions.labels("false").inc(missing)

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def build_metrics(
    board: Board,
    model: ModelSource,
    streams: Callable[[], int],
    histories: Histories,
    desk: Callable[[], DeskStatus],
    trainings: Counts,
) -> Metrics:
    """The metrics of one process. Gauges read their values at each scrape."""
    registry = CollectorRegistry()
    registry.register(_StateCollector(board, model, streams))
    registry.register(_HistoryCollector(histories))
    registry.register(_DeskCollector(desk))
    registry.register(_TrainingsCollector(trainings))
    ProcessCollector(registry=registry)  # memory, CPU, open files, start time
    return Metrics(
        registry,
        Histogram(
            "request_latency_seconds",
            "Time to respond to a request, live streams excluded",
            ["method", "route"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        ),
        Counter(
            "request_count",
            "HTTP requests by status",
            ["method", "route", "status"],
            registry=registry,
        ),
        Counter("prediction_count", "Transactions scored by /predict", registry=registry),
        Counter(
            "fraud_scorer_history_predictions",
            "Transactions scored by /predict with a model that reads the history of cards",
            ["used"],
            registry=registry,
        ),
    )


class _StateCollector:
    """Reads the current state of feed, model and streams at each scrape."""

    def __init__(self, board: Board, model: ModelSource, streams: Callable[[], int]) -> None:
        self._board = board
        self._model = model
        self._streams = streams

    def describe(self) -> Iterable[Metric]:
        """No families: the registry need not check these names for duplicates."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families."""
        yield from self._model_families()
        status, counts = self._board.status, self._board.counts
        prefix = "fraud_scorer_dashboard"
        yield GaugeMetricFamily(
            f"{prefix}_lag_records", "Committed scores that have not been read yet", status.lag
        )
        yield GaugeMetricFamily(
            f"{prefix}_feed_live",
            "1 while the feed is caught up with the scores topic",
            float(status.state is FeedState.LIVE),
        )
        yield GaugeMetricFamily(f"{prefix}_streams", "Open live streams", self._streams())
        for name, text, value in (
            ("scores", "Scores read from the topic", counts.scored),
            ("flagged", "Flagged scores read from the topic", counts.flagged),
            ("unreadable", "Records of the scores topic that could not be read", counts.unreadable),
        ):
            yield CounterMetricFamily(f"{prefix}_{name}", text, value)

    def _model_families(self) -> Iterable[Metric]:
        version = GaugeMetricFamily("model_version", "1 for the model in use", labels=["version"])
        bundle = self._model.current
        if bundle is not None:
            version.add_metric([bundle.version], 1)
        yield version
        seconds = self._model.status.load_seconds
        load = GaugeMetricFamily("model_load_time_seconds", "Duration of the last model load")
        if seconds is not None:
            load.add_metric([], seconds)
        yield load


class _HistoryCollector:
    """Reads the state of the card histories at each scrape, if the model reads one."""

    def __init__(self, histories: Histories) -> None:
        self._histories = histories

    def describe(self) -> Iterable[Metric]:
        """No families: the registry need not check these names for duplicates."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families."""
        status = self._histories.status()
        if status is None:
            return
        prefix = "fraud_scorer_dashboard_history"
        partitions = GaugeMetricFamily(
            f"{prefix}_partitions", "Partitions of the card history by state", labels=["state"]
        )
        partitions.add_metric(["loaded"], status.loaded)
        partitions.add_metric(["missing"], status.partitions - status.loaded)
        yield partitions
        if status.as_of is not None:
            age = (datetime.now(UTC) - status.as_of).total_seconds()
            yield GaugeMetricFamily(
                f"{prefix}_age_seconds", "Age of the oldest card history in use", max(0.0, age)
            )
        yield GaugeMetricFamily(f"{prefix}_bytes", "Memory of the card histories", status.nbytes)
        yield CounterMetricFamily(
            f"{prefix}_damaged_snapshots", "Snapshots that could not be used", status.damaged
        )


class _DeskCollector:
    """Reads the state of the desk at each scrape."""

    def __init__(self, status: Callable[[], DeskStatus]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """No families: the registry need not check these names for duplicates."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families."""
        status = self._status()
        prefix = "fraud_scorer_dashboard_desk"
        decisions = CounterMetricFamily(
            f"{prefix}_decisions", "Decisions made on this dashboard", labels=["label"]
        )
        for label in LABELS:
            decisions.add_metric([label], status.counts.get(label, 0))
        yield decisions
        for name, text, value in (
            ("withdrawals", "Decisions withdrawn on this dashboard",
             status.counts.get("withdrawn", 0)),
            ("conflicts", "Actions refused because another user was first",
             status.counts.get("conflicts", 0)),
            ("unreadable", "Records of the topics of the desk that could not be read",
             status.unreadable),
        ):  # fmt: skip
            yield CounterMetricFamily(f"{prefix}_{name}", text, value)
        outbox = GaugeMetricFamily(
            f"{prefix}_outbox", "Records that wait to be written to Kafka", labels=["kind"]
        )
        outbox.add_metric(["decision"], status.waiting)
        outbox.add_metric(["event"], status.events_waiting)
        yield outbox
        yield GaugeMetricFamily(
            f"{prefix}_lag_records", "Records of labels and audit events not read yet", status.lag
        )
        yield GaugeMetricFamily(
            f"{prefix}_live", "1 while the desk follows its topics", float(status.is_ok)
        )


class _TrainingsCollector:
    """Reads the counts of requested trainings at each scrape."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        """No families: the registry need not check these names for duplicates."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families."""
        prefix = "fraud_dashboard_trainings"
        started = CounterMetricFamily(
            f"{prefix}_started", "Trainings started on this dashboard", labels=["trigger"]
        )
        for trigger in REQUESTED:
            started.add_metric([trigger.value], self._counts.started[trigger.value])
        yield started
        refused = CounterMetricFamily(
            f"{prefix}_refused",
            "Requests that started no training: one runs, the cooldown, or it cannot be started",
            labels=["reason"],
        )
        for reason in REFUSALS:
            refused.add_metric([reason], self._counts.refused[reason])
        yield refused
        ended = CounterMetricFamily(
            f"{prefix}_ended", "Trainings that were seen running here and then ended",
            labels=["state"],
        )  # fmt: skip
        for state in ENDED:
            ended.add_metric([state], self._counts.ended[state])
        yield ended
