"""Held partitions of a Kafka member when the client, or the broker, does not do what it should."""

from __future__ import annotations

from typing import Any

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import kafka_broker, kafka_producer, partition_starts
from stream_scorer.stream.group_offsets import GroupOffsets, Start
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from tests.support.kafka.fake_clients import Failed, Record, RestartingGroup, Sink

LOW = 150
"""The first offset that is left of each partition."""


class Offsets(GroupOffsets):
    """Decides without a broker."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings(), "g", "t", "id")
        self.resolved: list[tuple[int, int | None, int | None]] = []

    def resolve(self, partition: int, offset: int | None, otherwise: int | None = None) -> Start:
        self.resolved.append((partition, offset, otherwise))
        found = otherwise if offset is None else offset
        if found is None:
            return Start(LOW)
        return Start(max(found, LOW), Span(found, LOW) if found < LOW else None)


class HoldingGroup(RestartingGroup):
    """A consumer that can fail to pause; ``stored`` is the committed offset of each partition."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = -1001
        self.mark = ""
        self.cannot_pause = False
        self.committed = lambda places, _: [
            TopicPartition("t", place.partition, self.stored, self.mark) for place in places
        ]

    def pause(self, places: list[TopicPartition]) -> None:
        if self.cannot_pause:
            raise KafkaException(KafkaError(KafkaError._STATE))
        super().pause(places)


@pytest.fixture
def group() -> HoldingGroup:
    return HoldingGroup()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def offsets() -> Offsets:
    return Offsets()


@pytest.fixture
def broker(
    group: HoldingGroup, sink: Sink, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> KafkaBroker:
    for module in (kafka_broker, kafka_producer):
        monkeypatch.setattr(
            module, "build_client", lambda kind, _: group if kind is Consumer else sink
        )
    options = GroupOptions("g", "t", txn_timeout_ms=1, producers=1, topic_id="id")
    broker = KafkaBroker(KafkaSettings(), options, offsets)
    broker.hold_new(is_on=True)
    return broker


def joined(broker: KafkaBroker) -> KafkaBroker:
    assert broker.poll(10, 0) is None
    assert broker.held() == {0, 1}
    return broker


def nothing_committed() -> Failed:
    """The event that nothing is committed for partition 1, with which the client stops it."""
    return Failed(1, -1001, code=KafkaError._AUTO_OFFSET_RESET)


def places(broker: KafkaBroker) -> list[tuple[int, int]]:
    polled = broker.poll(100, 0)
    if polled is None:
        return []
    return list(zip(polled.partitions.tolist(), polled.offsets.tolist(), strict=True))


def test_partition_without_a_committed_offset_waits_for_its_release_and_starts_there(
    broker: KafkaBroker, group: HoldingGroup, offsets: Offsets
) -> None:
    group.first, group.stopped = [nothing_committed()], {1}
    joined(broker)
    for _ in range(3):
        assert broker.poll(10, 0) is None
    assert group.restarted == []
    broker.release(1, 200)
    assert broker.poll(10, 0) is None
    # That outcomes may exist already is checked as for any partition without an offset.
    assert offsets.resolved == [(1, None, 200)]
    assert group.restarted == [(1, 200)]
    assert group.paused == {0}


def test_event_that_comes_after_the_release_starts_the_partition_there_as_well(
    broker: KafkaBroker, group: HoldingGroup, offsets: Offsets
) -> None:
    group.stopped = {1}
    joined(broker).release(1, 200)
    group.first = [nothing_committed()]
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert set(offsets.resolved) == {(1, None, 200)}
    assert set(group.restarted) == {(1, 200)}


def test_partition_that_is_not_fetched_yet_is_read_from_its_release_and_not_from_its_commit(
    broker: KafkaBroker, group: HoldingGroup, offsets: Offsets
) -> None:
    group.stored, group.stopped = 300, {1}
    joined(broker).release(1, 200)
    assert group.sought == []
    broker.poll(10, 0)
    assert offsets.resolved == [(1, 200, None)]
    assert group.restarted == [(1, 200)]


def test_records_of_a_released_partition_are_dropped_until_it_could_be_started(
    broker: KafkaBroker, group: HoldingGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client, resumed, may fetch it from the committed offset in the meantime."""
    group.stored, group.stopped = 300, {1}
    joined(broker).release(1, 200)
    with monkeypatch.context() as patch:
        patch.setattr(partition_starts, "_START_SECONDS", -1.0)
        group.first, group.waiting = [Record(1, 300)], [Record(1, 301)]
        assert places(broker) == []
    group.first = [Record(1, 200)]
    assert places(broker) == [(1, 200)]
    assert group.restarted == [(1, 200)]


def test_records_removed_before_the_release_are_counted_as_lost(
    broker: KafkaBroker, group: HoldingGroup
) -> None:
    group.stored = 100
    joined(broker).release(1, 100)
    assert [(p.partition, p.offset) for p in group.sought] == [(1, 100)]
    group.first = [Failed(1, 100, code=KafkaError._AUTO_OFFSET_RESET)]
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert group.restarted == [(1, LOW)]
    assert broker.lost() == {1: LOW - 100}


def test_partition_read_since_its_release_is_started_at_its_position(
    broker: KafkaBroker, group: HoldingGroup, offsets: Offsets
) -> None:
    joined(broker).release(1, 200)
    group.first = [Record(1, 200), Failed(1, 201, code=KafkaError._AUTO_OFFSET_RESET)]
    assert places(broker) == [(1, 200)]
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert offsets.resolved == [(1, 201, None)]


def test_client_that_cannot_pause_delivers_nothing_of_a_held_partition(
    broker: KafkaBroker, group: HoldingGroup
) -> None:
    group.cannot_pause = True
    with pytest.raises(RetryableError):
        broker.poll(10, 0)
    assert broker.held() == {0, 1}
    group.first, group.waiting = [Record(1, 7)], [Record(0, 7), Record(1, 8)]
    assert places(broker) == []
    broker.release(0, 7)
    group.first = [Record(0, 7)]
    assert places(broker) == [(0, 7)]


def test_client_that_cannot_resume_ends_the_process(
    broker: KafkaBroker, group: HoldingGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever released the partition will not do it again."""

    def refuse(_: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE))

    joined(broker)
    monkeypatch.setattr(group, "resume", refuse)
    with pytest.raises(FatalError, match=r"cannot resume \[1\]"):
        broker.release(1, 200)
    assert broker.held() == {0, 1}


def test_pending_rewind_does_not_move_a_partition_that_was_released_since(
    broker: KafkaBroker, group: HoldingGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(broker).release(1, 200)
    group.first = [Record(1, 200)]
    polled = broker.poll(10, 0)
    assert polled is not None

    def refuse(*_: Any) -> list[TopicPartition]:
        raise KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))

    with monkeypatch.context() as patch:
        patch.setattr(group, "committed", refuse)
        broker.begin().abort(polled)
        with pytest.raises(RetryableError):
            broker.poll(10, 0)
        broker.hold([1])
    broker.release(1, 180)
    group.sought.clear()
    broker.poll(10, 0)
    assert group.sought == []  # not to the committed offset


def test_partition_that_returns_held_is_not_sought_and_its_earlier_records_are_dropped(
    broker: KafkaBroker, group: HoldingGroup
) -> None:
    joined(broker)
    for partition in (0, 1):
        broker.release(partition, 200)
    before = broker.assignments()
    assert before == {0: 1, 1: 1}
    group.sought.clear()
    group.first, group.waiting = [Record(1, 200)], [Record(0, 200)]
    group.during_consume = [group.lose, group.regain]
    assert places(broker) == [(0, 200)]
    assert broker.assignments() == {0: 1, 1: 2}
    assert broker.held() == group.paused == {1}
    assert group.sought == []


def test_marks_are_stored_beside_the_topics_id(
    broker: KafkaBroker, group: HoldingGroup, sink: Sink
) -> None:
    joined(broker)
    for partition in (0, 1):
        broker.release(partition, 200)
    group.first, group.waiting = [Record(0, 200)], [Record(1, 200)]
    polled = broker.poll(10, 0)
    assert polled is not None
    broker.begin().commit(polled, {1: {"era": "3", "sum": "00000000000000ff"}})
    assert sink.marks == {"t=id", "t=id;era=3;sum=00000000000000ff"}


def test_partition_that_left_is_not_held_and_cannot_be_released(
    broker: KafkaBroker, group: HoldingGroup
) -> None:
    joined(broker)
    group.events = [group.lose]
    broker.poll(10, 0)
    assert broker.held() == {0}
    broker.release(1, 200)
    broker.hold([1])
    assert group.sought == []
    assert broker.held() == {0}


def test_record_kept_for_the_next_poll_is_dropped_by_a_hold_that_ends_before_it(
    broker: KafkaBroker, group: HoldingGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> bytes:
        raise KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))

    joined(broker).release(1, 200)
    group.first = [Record(1, 200)]
    with monkeypatch.context() as patch:
        patch.setattr(group, "consumer_group_metadata", refuse)
        with pytest.raises(RetryableError):
            broker.poll(10, 0)
    broker.hold([1])
    broker.release(1, 200)
    group.first = [Record(1, 200)]
    assert places(broker) == [(1, 200)]
