"""A member whose client gets no answer any more ends its process, and no other member does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import kafka_broker, kafka_producer, member_offsets
from stream_scorer.stream.group_offsets import GroupOffsets
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_calls import TransactionCalls
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.member_offsets import IDLE_SECONDS, MemberOffsets
from tests.support.kafka.fake_clients import Group, Sink

OPTIONS = GroupOptions("g", "t", max_poll_interval_ms=60_000, txn_timeout_ms=1_000)
NO_ANSWER = KafkaException(KafkaError(KafkaError._TIMED_OUT))
UNSTABLE = KafkaException(KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE))


class Scene:
    """A client and its coordinator; an attempt takes ten seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.error: KafkaException | None = None
        self.is_outage = False
        self.asked: list[tuple[list[int], float]] = []
        self.member = MemberOffsets(
            self,  # type: ignore[arg-type]  # of a consumer, only committed() is called
            OPTIONS,
            TransactionCalls(0),
            self.ask_new_client,
            lambda: self.now,
        )

    def committed(self, places: list[TopicPartition], seconds: float) -> list[TopicPartition]:
        self.asked.append(([place.partition for place in places], seconds))
        if self.error is not None:
            raise self.error
        return [TopicPartition("t", place.partition, 7) for place in places]

    def ask_new_client(self, partitions: Collection[int]) -> None:
        assert partitions
        if self.is_outage:
            raise RetryableError("no broker answers")

    def fail(self, attempts: int) -> None:
        for _ in range(attempts):
            self.now += 10.0
            with pytest.raises(RetryableError):
                self.member.fetch([1, 2])


def test_client_that_alone_gets_no_answer_ends_the_process_after_a_rebalance_could_have_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.error = NO_ANSWER
    with caplog.at_level(logging.WARNING):
        scene.fail(7)  # sixty seconds since the first one
    assert [r.getMessage() for r in caplog.records] == [
        "the group's coordinator answers a new client, and not this member's"
    ]
    assert not scene.member.is_stale
    scene.now += 10.0
    with pytest.raises(FatalError, match="has not answered this member's client for 70 s"):
        scene.member.fetch([1, 2])
    assert scene.member.is_stale


def test_outage_is_waited_out_however_long_it_takes() -> None:
    scene = Scene()
    scene.error, scene.is_outage = NO_ANSWER, True
    scene.fail(1_000)
    scene.is_outage = False  # the client takes a moment longer than a new one
    scene.fail(1)
    scene.error = None
    assert [p.offset for p in scene.member.fetch([1, 2])] == [7, 7]


def test_outage_starts_the_count_again() -> None:
    scene = Scene()
    scene.error = NO_ANSWER
    for _ in range(10):
        scene.fail(5)
        scene.is_outage = True
        scene.fail(1)
        scene.is_outage = False


def test_any_answer_shows_that_the_client_is_heard() -> None:
    scene = Scene()
    for _ in range(10):
        scene.error = NO_ANSWER
        scene.fail(5)
        scene.error = UNSTABLE
        scene.fail(1)
        scene.error = NO_ANSWER
        scene.fail(5)
        scene.member.answered()  # as a rebalance shows


def test_idle_member_asks_now_and_then_and_notices_too() -> None:
    scene = Scene()
    for _ in range(10):
        scene.member.serve_idle([])
    assert scene.asked == []
    scene.now += IDLE_SECONDS
    scene.member.serve_idle([])
    scene.member.serve_idle([])
    scene.now += IDLE_SECONDS
    scene.member.serve_idle([5, 3])
    assert [partitions for partitions, _ in scene.asked] == [[0], [3]]
    assert all(seconds <= 2.0 for _, seconds in scene.asked)
    scene.error = NO_ANSWER
    for _ in range(3):
        scene.now += IDLE_SECONDS
        scene.member.serve_idle([3])
    scene.now += IDLE_SECONDS
    with pytest.raises(FatalError, match="a new process has to join the group"):
        scene.member.serve_idle([3])


def test_recreated_topic_that_a_new_client_finds_ends_the_process() -> None:
    scene = Scene()
    scene.error = NO_ANSWER

    def recreated(_: Collection[int]) -> None:
        raise FatalError("offsets of a deleted topic")

    member = MemberOffsets(
        scene,  # type: ignore[arg-type]  # of a consumer, only committed() is called
        OPTIONS,
        TransactionCalls(0),
        recreated,
    )
    with pytest.raises(FatalError, match="offsets of a deleted topic"):
        member.fetch([1])


def test_broker_whose_member_gets_no_answer_ends_in_time_and_not_before_a_rewind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process must not wait for ever either when it leaves a group that does not answer."""
    group, sink, is_over = Group(), Sink(), threading.Event()
    for module in (kafka_broker, kafka_producer):
        monkeypatch.setattr(
            module, "build_client", lambda kind, _: group if kind is Consumer else sink
        )
    monkeypatch.setattr(kafka_broker, "_CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(member_offsets, "_REBALANCE_MARGIN_SECONDS", -60.0)
    offsets = GroupOffsets(KafkaSettings(), "g", "t")
    monkeypatch.setattr(offsets, "committed", lambda _: {})
    monkeypatch.setattr(group, "close", lambda: is_over.wait(60), raising=False)
    broker = KafkaBroker(KafkaSettings(), OPTIONS, offsets)
    polled = broker.poll(10, 0.0)
    assert polled is not None

    def no_answer(*_: object) -> list[TopicPartition]:
        raise NO_ANSWER

    group.committed = no_answer
    broker.begin().abort(polled)  # the rewind fails, and the next poll tries again
    with pytest.raises(FatalError, match="a new process has to join the group"):
        broker.poll(10, 0.0)
    assert group.sought == []  # nothing was read from a guess
    broker.close()
    is_over.set()
