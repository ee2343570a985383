"""What the scorer process exposes while its loop runs: metrics, health, traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from stream_scorer.drift.feature_counts import COUNTED_SHARE
from stream_scorer.drift.features import choose_rows
from stream_scorer.errors import RetryableError
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.probes import Health
from stream_scorer.observability.progress import ProgressWatch
from stream_scorer.process.telemetry import Telemetry
from stream_scorer.runtime.tracing import Tracing
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record
from stream_scorer.stream.model_guard import ModelGuard
from stream_scorer.stream.ports import NoHistories
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.support.drift.kit import facts_of
from tests.support.factories import make_batch, publish, publish_only
from tests.support.scoring_kit import INPUT, NEVER, make_pipeline, make_value

TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


class Process:
    """A scorer without sockets: loop, telemetry, metrics."""

    def __init__(
        self, folder: Path, ahead_from: int = NEVER, tracing: Tracing | None = None
    ) -> None:
        self.store = MemoryStore()
        publish(self.store)
        self.watcher = ModelWatcher(self.store, BundleCache(folder))
        self.watcher.tick()
        self.metrics = ScorerMetrics()
        self.health = Health(lambda: True)
        self.cluster = MemoryCluster(INPUT, 2)
        broker, guard = MemoryBroker(self.cluster), ModelGuard(self.watcher)
        self.telemetry = Telemetry(
            self.metrics, self.health, self.watcher, guard, broker, ProgressWatch(60, 10), tracing
        )
        self.loop = ScorerLoop(
            broker,
            make_pipeline(),
            NoHistories(lambda: self.watcher.current),
            RejectionGuard(RejectionPolicy()),
            self.telemetry,
            LoopOptions(4, 0.0, ahead_from),
            guard.refusal,
        )
        self.metrics.batches.watch_in_flight(lambda: self.loop.in_flight)

    def fill(self, rows: int) -> None:
        for i in range(rows):
            self.cluster.produce(0, Record(b"key", make_value(i), [TRACEPARENT]))

    def step(self) -> Step:
        """One iteration of the loop, in which the figures of each second are due."""
        self.telemetry._updated_at = -10.0
        return self.loop.run_once()

    def scrape(self) -> dict[tuple[str, ...], float]:
        """Name and label values → value."""
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.metrics.render().decode())
            for sample in family.samples
        }


def test_resolved_problem_is_cleared_on_an_idle_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path)
    process.cluster.faults["poll"] = [RetryableError("no broker answers")]
    assert [process.step(), process.step()] == [Step.ABORTED, Step.IDLE]
    assert process.health.problem == "no broker answers"
    monkeypatch.setattr("stream_scorer.process.telemetry._PROBLEM_SECONDS", 0.0)
    assert process.step() is Step.IDLE
    assert process.health.problem is None


def test_each_step_of_a_batch_is_timed(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.fill(8)
    assert [process.step(), process.step()] == [Step.COMMITTED] * 2
    found = process.scrape()
    for step in ("score", "publish", "commit"):
        assert found["fraud_scorer_step_seconds_count", step] == 2


def test_step_that_failed_is_not_timed(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.fill(1)
    process.cluster.faults["commit"] = [RetryableError("not now")]
    assert process.step() is Step.ABORTED
    found = process.scrape()
    assert found["fraud_scorer_step_seconds_count", "score"] == 1
    assert found["fraud_scorer_step_seconds_count", "commit"] == 0
    assert found["fraud_scorer_in_flight_records",] == 0


def test_batch_scored_ahead_is_in_flight_until_its_commit(tmp_path: Path) -> None:
    process = Process(tmp_path, ahead_from=1)
    process.fill(6)
    process.step()
    assert process.scrape()["fraud_scorer_in_flight_records",] == 2
    process.step()
    assert process.scrape()["fraud_scorer_in_flight_records",] == 0


def test_rebalances_are_counted_including_the_first_assignment(tmp_path: Path) -> None:
    process = Process(tmp_path)
    for _ in range(3):
        process.step()
    assert process.scrape()["fraud_scorer_rebalances_total",] == 1
    other = MemoryBroker(process.cluster)
    for _ in range(3):
        process.step()
    assert process.scrape()["fraud_scorer_rebalances_total",] == 2
    other.close()


def test_promoted_version_that_cannot_be_loaded_is_reported_as_behind(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.step()
    found = process.scrape()
    assert found["fraud_scorer_model_behind",] == found["fraud_scorer_model_reload_failing",] == 0
    publish(process.store, seed=2)
    process.store.script(StoreFault("torn", "read models/v2/model.pkl"))
    process.watcher.tick()
    process.step()
    found = process.scrape()
    assert found["fraud_scorer_model_behind",] == found["fraud_scorer_model_reload_failing",] == 1
    assert found["fraud_scorer_model_store_silence_seconds",] < 60


def test_version_that_waits_for_its_history_is_not_said_to_score(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.fill(3)
    process.step()
    before = process.watcher.current
    assert before is not None
    process.telemetry._serving = lambda: before
    publish(process.store, seed=2)
    process.watcher.tick()
    process.metrics.model.loaded("v2", 0.1)  # as the watcher does
    process.fill(3)
    process.step()
    found = process.scrape()
    assert found["model_version", "v1"] == 1
    assert ("model_version", "v2") not in found
    assert found["fraud_scorer_model_behind",] == 1


def test_rejected_version_is_reported_as_rolled_back_and_not_as_behind(tmp_path: Path) -> None:
    process = Process(tmp_path)
    version = publish(process.store, seed=2)
    process.store.reject(version, {"reason": "test"})
    process.watcher.tick()
    process.step()
    found = process.scrape()
    assert found["fraud_scorer_model_behind",] == 0
    assert found["fraud_scorer_model_fallen_back",] == 1


def test_committed_batch_is_one_span_linked_to_its_records(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("stream-scorer", exporter)
    process = Process(tmp_path, tracing=tracing)
    process.fill(3)
    process.cluster.produce(0, Record(b"key", b"bad"))
    process.step()
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 4
    assert span.attributes["fraud_scorer.scored"] == 3
    assert span.attributes["fraud_scorer.dead_letters"] == 1
    assert len(span.links) == 1


@pytest.mark.parametrize("stage", ["framing", "schema", "decode", "validate", "score", "publish"])
def test_counters_start_at_zero_so_that_the_first_event_is_an_increase(stage: str) -> None:
    text = ScorerMetrics().render().decode()
    assert f'fraud_scorer_dead_letters_total{{stage="{stage}"}} 0.0' in text


def test_log_line_of_dead_letters_counts_them_by_stage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(tmp_path)
    for value in (None, b"{", b"{", make_value()):
        process.cluster.produce(0, Record(b"key", value))
    assert process.step() is Step.COMMITTED
    (line,) = [vars(r) for r in caplog.records if r.getMessage() == "dead letters"]
    assert (line["dead_letters"], line["stages"]) == (3, {"decode": 2, "framing": 1})
    assert line["sample_reason"].startswith("decode: not JSON")


def test_features_of_committed_batches_are_counted_once_though_one_was_retried(
    tmp_path: Path,
) -> None:
    process = Process(tmp_path)
    version = publish_only(process.store, facts_of(make_batch(500, 99)))
    process.store.promote(version, process.store.current())
    process.watcher.tick()
    process.fill(40)
    process.cluster.faults["commit"] = [RetryableError("not now")]
    steps = [process.step() for _ in range(11)]
    assert steps == [Step.ABORTED] + [Step.COMMITTED] * 10
    chosen = choose_rows(np.arange(40, dtype=np.int64), COUNTED_SHARE).sum()
    found = process.scrape()
    assert found["fraud_scorer_drift_rows_total", version] == chosen > 0
    amounts = [v for k, v in found.items() if k[0] == "fraud_scorer_drift_bin_total" and "C1" in k]
    assert sum(amounts) == chosen
