"""What the scorer process tells of itself as its loop turns: metrics, health, traces."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from stream_scorer.errors import RetryableError
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.probes import Health
from stream_scorer.process.telemetry import Telemetry
from stream_scorer.runtime.tracing import Tracing
from stream_scorer.stream.loop import ScorerLoop, Step
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record
from stream_scorer.stream.rejection_guard import RejectionGuard, RejectionPolicy
from tests.support.factories import publish
from tests.support.scoring_kit import INPUT, make_pipeline, make_value

TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


class Process:
    """A scorer without sockets: loop, telemetry, metrics."""

    def __init__(self, folder: Path, ahead_from: int = 10**9) -> None:
        self.store = MemoryStore()
        publish(self.store)
        self.watcher = ModelWatcher(self.store, BundleCache(folder))
        self.watcher.tick()
        self.metrics = ScorerMetrics()
        self.health = Health(lambda: True)
        self.telemetry = Telemetry(self.metrics, self.health, self.watcher)
        self.cluster = MemoryCluster(INPUT, 2)
        self.telemetry.broker = broker = MemoryBroker(self.cluster)
        self.loop = ScorerLoop(
            broker,
            make_pipeline(),
            lambda: self.watcher.current,
            RejectionGuard(RejectionPolicy()),
            self.telemetry,
            4,
            0.0,
            ahead_from_records=ahead_from,
            timed=self.metrics.timed,
        )
        self.metrics.in_flight.set_function(lambda: self.loop.in_flight)

    def fill(self, rows: int) -> None:
        for i in range(rows):
            self.cluster.produce(0, Record(b"key", make_value(i), [TRACEPARENT]))

    def turn(self) -> Step:
        """One turn; the figures of each second are due in every one."""
        self.telemetry._lag_at = -10.0
        return self.loop.run_once()

    def scrape(self) -> dict[tuple[str, ...], float]:
        """Name and label values → value."""
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.metrics.render().decode())
            for sample in family.samples
        }


def test_problem_that_is_over_is_not_told_for_ever_on_a_quiet_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path)
    process.cluster.faults["poll"] = [RetryableError("no broker answers")]
    assert [process.turn(), process.turn()] == [Step.ABORTED, Step.IDLE]
    assert process.health.problem == "no broker answers"
    monkeypatch.setattr("stream_scorer.process.telemetry._PROBLEM_SECONDS", 0.0)
    assert process.turn() is Step.IDLE
    assert process.health.problem is None


def test_each_step_of_a_batch_is_timed(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.fill(8)
    assert [process.turn(), process.turn()] == [Step.COMMITTED] * 2
    found = process.scrape()
    for step in ("score", "publish", "commit"):
        assert found["fraud_scorer_step_seconds_count", step] == 2


def test_step_that_failed_is_not_timed(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.fill(1)
    process.cluster.faults["commit"] = [RetryableError("not now")]
    assert process.turn() is Step.ABORTED
    found = process.scrape()
    assert found["fraud_scorer_step_seconds_count", "score"] == 1
    assert found["fraud_scorer_step_seconds_count", "commit"] == 0
    assert found["fraud_scorer_in_flight_records",] == 0


def test_batch_scored_ahead_is_in_flight_until_it_is_committed(tmp_path: Path) -> None:
    process = Process(tmp_path, ahead_from=1)
    process.fill(6)
    process.turn()
    assert process.scrape()["fraud_scorer_in_flight_records",] == 2
    process.turn()
    assert process.scrape()["fraud_scorer_in_flight_records",] == 0


def test_rebalances_are_counted_and_the_first_assignment_is_one(tmp_path: Path) -> None:
    process = Process(tmp_path)
    for _ in range(3):
        process.turn()
    assert process.scrape()["fraud_scorer_rebalances_total",] == 1
    other = MemoryBroker(process.cluster)
    for _ in range(3):
        process.turn()
    assert process.scrape()["fraud_scorer_rebalances_total",] == 2
    other.close()


def test_a_newer_promoted_version_that_is_not_taken_shows(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.turn()
    found = process.scrape()
    assert found["fraud_scorer_model_behind",] == found["fraud_scorer_model_reload_failing",] == 0
    publish(process.store, seed=2)
    process.store.script(StoreFault("torn", "read models/v2/model.pkl"))
    process.watcher.tick()
    process.turn()
    found = process.scrape()
    assert found["fraud_scorer_model_behind",] == found["fraud_scorer_model_reload_failing",] == 1
    assert found["fraud_scorer_model_store_silence_seconds",] < 60


def test_a_rejected_version_is_not_one_to_catch_up_with(tmp_path: Path) -> None:
    process = Process(tmp_path)
    version = publish(process.store, seed=2)
    process.store.reject(version, {"reason": "test"})
    process.watcher.tick()
    process.turn()
    found = process.scrape()
    assert found["fraud_scorer_model_behind",] == 0
    assert found["fraud_scorer_model_fallen_back",] == 1


def test_committed_batch_is_one_span_linked_to_its_records(tmp_path: Path) -> None:
    process, exporter = Process(tmp_path), InMemorySpanExporter()
    process.telemetry.tracing = Tracing("stream-scorer", exporter)
    process.fill(3)
    process.cluster.produce(0, Record(b"key", b"bad"))
    process.turn()
    process.telemetry.tracing.close()
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 4
    assert span.attributes["fraud_scorer.scored"] == 3
    assert span.attributes["fraud_scorer.dead_letters"] == 1
    assert len(span.links) == 1


@pytest.mark.parametrize("stage", ["framing", "schema", "decode", "validate", "score", "publish"])
def test_counters_begin_at_zero_so_that_the_first_one_is_a_rise(stage: str) -> None:
    text = ScorerMetrics().render().decode()
    assert f'fraud_scorer_dead_letters_total{{stage="{stage}"}} 0.0' in text
