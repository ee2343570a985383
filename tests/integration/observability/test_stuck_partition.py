"""The partition watch on real Kafka: the broker's backlog, and a client that stops fetching."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.observability.partition_watch import KafkaBacklog
from stream_scorer.observability.progress import Backlog
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.ports import Polled
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.group_kit import commit_offset, in_txn
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce
from tests.support.scorer_kit import outcomes, running, scorer_settings
from tests.support.waiting import wait_until


def test_markers_and_aborted_records_are_not_a_backlog(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str
) -> None:
    topic = topics(1).input_topic
    source = KafkaBacklog(kafka.settings, group_id, topic)
    assert source.backlog([0]) == {}
    in_txn(kafka.settings, topic, 5, end=6)
    assert source.backlog([0]) == {0: Backlog(0, 6)}
    commit_offset(kafka.settings, group_id, topic, 5)  # a marker is left
    assert source.backlog([0]) == {}
    in_txn(kafka.settings, topic, 3, end=10, commit=False)
    assert source.backlog([0]) == {}
    in_txn(kafka.settings, topic, 1, end=12)
    assert source.backlog([0]) == {0: Backlog(10, 12)}
    source.close()


def test_committed_offset_removed_by_retention_is_reported(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str
) -> None:
    topic = topics(1).input_topic
    produce(kafka.settings, topic, [b"x"] * 10, 1)
    commit_offset(kafka.settings, group_id, topic, 2)
    admin = open_admin(kafka.settings)
    for future in admin.delete_records([TopicPartition(topic, 0, 6)]).values():
        future.result(30)
    source = KafkaBacklog(kafka.settings, group_id, topic)
    assert source.backlog([0]) == {0: Backlog(6, 10, expired_from=2)}
    source.close()


def before_next_poll(monkeypatch: pytest.MonkeyPatch, act: Callable[[KafkaBroker], None]) -> None:
    """Act on the broker in the thread that owns it: from another one its calls wait for minutes."""
    done, original = threading.Event(), KafkaBroker.poll

    def poll(broker: KafkaBroker, max_records: int, timeout: float) -> Polled | None:
        if not done.is_set():
            act(broker)
            done.set()
        return original(broker, max_records, timeout)

    monkeypatch.setattr(KafkaBroker, "poll", poll)
    wait_until(done.is_set, what="the loop's next poll")


def test_partition_the_client_stops_fetching_makes_the_scorer_unready_until_it_moves(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    names = topics(2)
    publish(FileStore(tmp_path / "store"))
    values: list[bytes | None] = [*encode_transactions(build_batch(make_transactions(20)))]
    produce(kafka.settings, names.input_topic, values, 2)
    settings = scorer_settings(kafka, names, group_id, tmp_path)
    with running(settings.model_copy(update={"partition_stuck_seconds": 2.0})) as scorer:
        wait_until(lambda: scorer.report()["ready"], what="the scorer to be ready")
        wait_until(lambda: sum(map(len, outcomes(kafka, names))) == 20, what="everything read")
        caplog.clear()  # a slow machine may have been two seconds late before
        stopped = [TopicPartition(names.input_topic, 1)]
        # Like a client that stops fetching by itself, without an error.
        before_next_poll(monkeypatch, lambda broker: broker._consumer.pause(stopped))
        produce(kafka.settings, names.input_topic, values, 2)
        wait_until(lambda: not scorer.report()["ready"], what="the scorer to be unready")
        # Only that one, once the other has been read, which may take a while on a slow machine.
        wait_until(
            lambda: list(scorer.report()["stuck_partitions"]) == ["1"], what="the right partition"
        )
        stuck = {
            'fraud_scorer_partition_stuck{partition="0"} 0.0',
            'fraud_scorer_partition_stuck{partition="1"} 1.0',
        }
        wait_until(
            lambda: stuck <= set(scorer._metrics.render().decode().splitlines()),
            what="the metrics to show it",
        )
        before_next_poll(monkeypatch, lambda broker: broker._consumer.resume(stopped))
        wait_until(lambda: scorer.report()["ready"], what="the scorer to be ready again")
    assert sum("partition 1 is stuck" in r.getMessage() for r in caplog.records) == 1
