"""The bounds of many partitions: few requests, none of them on the connection of a reader."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from dashboard.cases import kafka_log
from dashboard.cases.kafka_log import KafkaLogReader
from dashboard.cases.log import Channel
from dashboard.feed import source
from dashboard.feed.source import KafkaScores
from stream_scorer.kafka.bounds import committed_bounds
from stream_scorer.kafka.driver import AdminClient
from stream_scorer.settings import GroupSettings

PARTITIONS = 12
LOW, HIGH = 3, 40
EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]


class FakeAdmin(AdminClient):
    """Answers for topics of 12 partitions, and keeps what it was asked for.

    The first ``failures`` requests for offsets fail as they do while a leader is elected.
    """

    def __init__(self, failures: int = 0, code: int = KafkaError.LEADER_NOT_AVAILABLE) -> None:
        self.requests = list[tuple[int, IsolationLevel]]()
        self._failures = failures
        self._code = code

    def list_offsets(  # type: ignore[override]
        self, topic_partition_offsets: Any, **kwargs: Any
    ) -> Any:
        self.requests.append((len(topic_partition_offsets), kwargs["isolation_level"]))
        is_refused = len(self.requests) <= self._failures
        answer = dict[TopicPartition, Future[Any]]()
        for place, spec in topic_partition_offsets.items():
            answer[place] = Future()
            if is_refused:
                answer[place].set_exception(KafkaException(KafkaError(self._code)))
            else:
                offset = LOW if type(spec) is type(EARLIEST) else HIGH
                answer[place].set_result(SimpleNamespace(offset=offset + place.partition))
        return answer

    def list_topics(self, *args: Any, **_: Any) -> Any:
        found = SimpleNamespace(error=None, partitions=dict.fromkeys(range(PARTITIONS)))
        return SimpleNamespace(cluster_id="c", topics={args[0]: found})

    def describe_topics(self, topics: Any, **_: Any) -> Any:  # type: ignore[override]
        answer = dict[str, Future[Any]]()
        for name in topics.topic_names:
            answer[name] = Future()
            answer[name].set_exception(
                KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
            )
        return answer

    def poll(self, *_: Any) -> int:
        return 0


class BusyConsumer:
    """A consumer on whose connection a fetch is waiting. Only closing it is allowed."""

    def close(self) -> None:
        pass


def test_bounds_of_all_partitions_take_two_requests() -> None:
    admin = FakeAdmin()
    places = [(topic, p) for topic in ("labels", "audit") for p in range(PARTITIONS)]
    found = committed_bounds(admin, places, 1.0)
    assert admin.requests == [(24, IsolationLevel.READ_COMMITTED)] * 2
    assert found == {(topic, p): (LOW + p, HIGH + p) for topic, p in places}
    assert committed_bounds(admin, [], 1.0) == {}
    assert len(admin.requests) == 2


def test_request_is_repeated_while_a_leader_is_elected_and_not_without_permission() -> None:
    assert committed_bounds(FakeAdmin(failures=1), [("t", 0)], 1.0) == {("t", 0): (LOW, HIGH)}
    refused = FakeAdmin(failures=9, code=KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException):
        committed_bounds(refused, [("t", 0)], 1.0)
    assert len(refused.requests) == 2


def test_readers_ask_for_bounds_beside_their_own_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On it, each of 24 requests waits for a fetch: decisions were confirmed a second late."""
    admin = FakeAdmin()
    for module in (kafka_log, source):
        monkeypatch.setattr(module, "open_admin", lambda _: admin)
        monkeypatch.setattr(module, "open_consumer", lambda *_, **__: BusyConsumer())
    settings = GroupSettings()
    desk = KafkaLogReader(settings, {Channel.LABELS: "labels", Channel.AUDIT: "audit"})
    bounds = desk.fetch_bounds().bounds
    assert len(bounds) == 24
    assert bounds[Channel.AUDIT, 7] == (LOW + 7, HIGH + 7)
    found = KafkaScores(settings, "scores").fetch_bounds()
    assert found is not None
    assert found.bounds == {p: (LOW + p, HIGH + p) for p in range(PARTITIONS)}
    assert [count for count, _ in admin.requests] == [24, 24, 12, 12]
