"""Partitions that the driver does not fetch: the event that says so can be late, or outdated."""

from __future__ import annotations

import pytest

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import kafka_broker, kafka_producer
from stream_scorer.stream.group_offsets import GroupOffsets, Start
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from tests.support.kafka.fake_clients import Failed, Record, RestartingGroup, Sink

LOW = 150
"""The first offset that is left of each partition."""


class Offsets(GroupOffsets):
    """Decides without a broker."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings(), "g", "t")
        self.resolved: list[tuple[int, int | None, int | None]] = []

    def resolve(self, partition: int, offset: int | None, otherwise: int | None = None) -> Start:
        self.resolved.append((partition, offset, otherwise))
        offset = otherwise if offset is None else offset
        if offset is None:
            return Start(LOW)
        return Start(max(offset, LOW), Span(offset, LOW) if offset < LOW else None)


def reset(offset: int | None) -> Failed:
    """The event that partition 1 cannot be read at an offset; None: none is committed."""
    return Failed(1, -1001 if offset is None else offset, code=KafkaError._AUTO_OFFSET_RESET)


@pytest.fixture
def group() -> RestartingGroup:
    return RestartingGroup()


@pytest.fixture
def offsets() -> Offsets:
    return Offsets()


@pytest.fixture
def broker(
    group: RestartingGroup, offsets: Offsets, monkeypatch: pytest.MonkeyPatch
) -> KafkaBroker:
    sink = Sink()
    for module in (kafka_broker, kafka_producer):
        monkeypatch.setattr(
            module, "build_client", lambda kind, _: group if kind is Consumer else sink
        )
    options = GroupOptions("g", "t", txn_timeout_ms=1, producers=1)
    broker = KafkaBroker(KafkaSettings(), options, offsets)
    assert broker.poll(10, 0) is None  # assigned
    return broker


def test_event_of_a_partition_revoked_in_the_same_poll_does_not_hang_the_member(
    broker: KafkaBroker, group: RestartingGroup
) -> None:
    group.first, group.during_consume = [reset(None)], [group.lose]
    assert broker.poll(10, 0) is None
    for i in range(5):
        group.first = [Record(0, i)]
        polled = broker.poll(10, 0)
        assert polled is not None
        assert polled.offsets.tolist() == [i]


def test_event_after_the_revocation_does_not_hang_the_member(
    broker: KafkaBroker, group: RestartingGroup
) -> None:
    group.events, group.first = [group.lose], [reset(None)]
    assert broker.poll(10, 0) is None
    group.first = [Record(0, 1)]
    assert broker.poll(10, 0) is not None


@pytest.mark.parametrize("old", [None, 100])
def test_event_of_an_earlier_assignment_does_not_move_a_partition_back(
    broker: KafkaBroker, group: RestartingGroup, offsets: Offsets, old: int | None
) -> None:
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 500) for p in places]
    group.first, group.during_consume = [reset(old)], [group.lose, group.regain]
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert all(offset >= 500 for _, offset in group.restarted), group.restarted


def test_old_event_in_a_later_poll_than_the_revocation(
    broker: KafkaBroker, group: RestartingGroup
) -> None:
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 500) for p in places]
    group.events = [group.lose]
    broker.poll(10, 0)
    group.first, group.during_consume = [reset(None)], [group.regain]
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert all(offset >= 500 for _, offset in group.restarted), group.restarted


def test_partition_that_stopped_is_rewound_although_its_event_was_not_seen_yet(
    broker: KafkaBroker, group: RestartingGroup
) -> None:
    """200..209 are in flight, the client stops at 210 for a moment, and the batch is aborted."""
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 200) for p in places]
    group.waiting = [Record(1, i) for i in range(201, 210)]
    group.first = [Record(1, 200)]
    polled = broker.poll(10, 0)
    assert polled is not None
    assert len(polled) == 10
    group.stopped = {1}  # the event is in the client's queue
    broker.begin().abort(polled)
    group.first = [reset(210)]
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert {offset for _, offset in group.restarted} == {200}


def test_partition_revoked_and_assigned_again_is_started_if_its_event_was_dropped(
    broker: KafkaBroker, group: RestartingGroup
) -> None:
    group.committed = lambda places, _: [TopicPartition("t", p.partition, -1001) for p in places]
    group.first = [Record(0, 0)]
    group.events = [group.lose, group.regain]
    group.waiting = [reset(None)]
    group.stopped = {1}
    broker.poll(10, 0)
    broker.poll(10, 0)
    assert (1, LOW) in group.restarted


def test_record_kept_for_the_next_poll_is_not_returned_twice_after_a_start(
    broker: KafkaBroker, group: RestartingGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> bytes:
        raise KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))

    group.committed = lambda places, _: [TopicPartition("t", p.partition, 200) for p in places]
    group.first, group.waiting = [Record(1, 200)], [reset(201)]
    with monkeypatch.context() as patch:
        patch.setattr(group, "consumer_group_metadata", refuse)
        with pytest.raises(RetryableError):
            broker.poll(10, 0)
    group.first = [Record(1, 200)]  # from the start at the committed offset
    polled = broker.poll(10, 0)
    assert group.restarted == [(1, 200)]
    assert polled is not None
    assert polled.offsets.tolist() == [200]
