"""The broker in situations that real Kafka rarely produces, with fakes for the driver's clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import kafka_broker, kafka_producer
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.ports import Polled
from tests.support.kafka.fake_clients import Failed, Group, Record, Sink

LOADING = KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def broker(group: Group, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> KafkaBroker:
    for module in (kafka_broker, kafka_producer):
        monkeypatch.setattr(
            module, "build_client", lambda kind, _: group if kind is Consumer else sink
        )
    return KafkaBroker(KafkaSettings(), GroupOptions("g", "t", txn_timeout_ms=1, producers=1))


def poll(broker: KafkaBroker) -> Polled:
    polled = broker.poll(10, 0.0)
    assert polled is not None
    return polled


def refuse(*_: Any) -> list[TopicPartition]:
    raise LOADING


def refuse_each(places: list[TopicPartition], _: float) -> list[TopicPartition]:
    class Refused(TopicPartition):
        error = LOADING.args[0]

    return [Refused(place.topic, place.partition) for place in places]


@pytest.mark.parametrize("refusal", [refuse, refuse_each])
def test_nothing_is_returned_until_a_partition_assigned_again_was_rewound(
    broker: KafkaBroker, group: Group, refusal: Callable[..., Any]
) -> None:
    poll(broker)
    group.committed = refusal
    group.events = [group.take_away, group.give_back]  # so the offset of partition 1 is read
    for _ in range(2):
        with pytest.raises(RetryableError, match="Coordinator load in progress"):
            broker.poll(10, 0.0)
    assert group.sought == []
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 7) for p in places]
    assert poll(broker).partitions.tolist()[0] == 0  # what arrived with the rebalance is not lost
    assert [(place.partition, place.offset) for place in group.sought] == [(1, 7)]


@pytest.mark.parametrize("refusal", [refuse, refuse_each])
def test_nothing_is_returned_until_an_aborted_batch_was_rewound(
    broker: KafkaBroker, group: Group, refusal: Callable[..., Any]
) -> None:
    polled = poll(broker)
    group.committed = refusal
    broker.begin().abort(polled)
    next_record = group.next
    for _ in range(2):
        with pytest.raises(RetryableError, match="Coordinator load in progress"):
            broker.poll(10, 0.0)
    assert group.sought == []
    assert group.next == next_record  # the client was not polled
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 3) for p in places]
    poll(broker)
    assert [(p.partition, p.offset) for p in group.sought] == [(0, 3), (1, 3)]


def test_first_record_is_kept_if_consume_raises_after_the_poll_that_gave_it(
    broker: KafkaBroker, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(group, "consume", refuse)
        with pytest.raises(RetryableError, match="Coordinator load in progress"):
            broker.poll(10, 0.0)
    polled = poll(broker)
    assert list(zip(polled.partitions.tolist(), polled.offsets.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 1),
    ]  # fmt: skip


def test_record_is_kept_if_the_fence_cannot_be_taken(
    broker: KafkaBroker, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(group, "consumer_group_metadata", refuse)
        with pytest.raises(RetryableError):
            broker.poll(1, 0.0)
    assert poll(broker).offsets.tolist()[0] == 0


def test_record_kept_for_the_next_poll_is_dropped_if_its_partition_is_revoked_by_then(
    broker: KafkaBroker, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll(broker)
    with monkeypatch.context() as patch:
        patch.setattr(group, "consumer_group_metadata", refuse)
        with pytest.raises(RetryableError):
            broker.poll(10, 0.0)  # holds a record of each partition
    group.events = [group.take_away]
    polled = poll(broker)
    assert polled.partitions.tolist() == [0, 0]


def test_record_kept_for_the_next_poll_is_not_returned_twice_after_a_rewind(
    broker: KafkaBroker, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = poll(broker)
    with monkeypatch.context() as patch:
        patch.setattr(group, "consumer_group_metadata", refuse)
        with pytest.raises(RetryableError):
            broker.poll(10, 0.0)
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 0) for p in places]
    broker.begin().abort(first)  # from offset 0 on, everything will be delivered again
    assert poll(broker).offsets.tolist() == [2, 2]


def test_committed_offsets_carry_the_mark_and_none_without_a_topic_id(
    broker: KafkaBroker, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.begin().commit(poll(broker))
    assert sink.marks == {""}
    options = GroupOptions("g", "t", txn_timeout_ms=1, producers=1, topic_id="abc")
    marked = KafkaBroker(KafkaSettings(), options)
    marked.begin().commit(poll(marked))
    assert sink.marks == {"", "t=abc"}


def test_mark_of_another_topic_id_ends_the_process_before_its_records_are_used(
    group: Group, sink: Sink, broker: KafkaBroker
) -> None:
    del broker
    options = GroupOptions("g", "t", txn_timeout_ms=1, producers=1, topic_id="new")
    marked = KafkaBroker(KafkaSettings(), options)
    group.committed = refuse
    with pytest.raises(RetryableError):  # the marks cannot be read: the records wait
        marked.poll(10, 0.0)
    group.committed = lambda places, _: [
        TopicPartition("t", p.partition, 5, "t=old;era=1") for p in places
    ]
    with pytest.raises(FatalError, match=r"recreated.*id old.*id new.*--from-start"):
        marked.poll(10, 0.0)
    group.committed = lambda places, _: [
        TopicPartition("t", p.partition, 5, "t=new") for p in places
    ]
    assert poll(marked).offsets.tolist()[0] == 0


def test_partition_assigned_again_is_read_from_its_committed_offset(
    broker: KafkaBroker, group: Group
) -> None:
    poll(broker)
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 7) for p in places]
    group.events = [group.take_away, group.give_back]
    assert poll(broker).partitions.tolist() == [0]
    assert [(place.partition, place.offset) for place in group.sought] == [(1, 7)]


@pytest.mark.parametrize("members", [["", ""], ["", "new"], ["old", ""]])
def test_batch_polled_without_a_member_id_is_refused_before_its_offsets_are_sent(
    broker: KafkaBroker, group: Group, sink: Sink, members: list[str]
) -> None:
    group.members = members
    with pytest.raises(RetryableError, match="not a member of the group"):
        broker.begin().commit(poll(broker))
    assert sink.sent == []
    group.members = []
    broker.begin().commit(poll(broker))
    assert sink.sent == [2, 2]


def test_driver_call_that_fails_without_an_exception_ends_the_process(
    broker: KafkaBroker, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen when many callbacks wait for a producer that has been fenced."""

    def flush(_: float) -> int:
        raise SystemError("<method 'flush'> returned NULL without setting an exception")

    poll(broker)
    monkeypatch.setattr(sink, "flush", flush)
    with pytest.raises(FatalError, match="the client is unusable, most likely fenced"):
        broker.begin().publish([])


def test_error_in_our_own_callback_is_not_mistaken_for_the_drivers(
    broker: KafkaBroker, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flush(_: float) -> int:
        raise SystemError("a result with an exception set") from KeyError("ours")

    poll(broker)
    monkeypatch.setattr(sink, "flush", flush)
    with pytest.raises(SystemError):
        broker.begin().publish([])


MIB = 2**20


@pytest.mark.parametrize(
    ("size", "most"),
    [
        (2_300, 2_000),  # usual ones: the batch is full by records
        (MIB, 32 + 1),
        (30 * MIB, 1 + 8),  # the first step, whose size is not known before
    ],
)
def test_batch_is_bounded_in_records_and_bytes_and_nothing_is_skipped(
    broker: KafkaBroker, group: Group, size: int, most: int
) -> None:
    group.waiting = [Record(1, i, size) for i in range(5_000)]
    polled = broker.poll(2_000, 0.0)
    assert polled is not None
    assert len(polled) == min(2_000, most)
    of_1 = polled.offsets[polled.partitions == 1].tolist()
    assert of_1 == list(range(len(of_1)))
    following = broker.poll(2_000, 0.0)
    assert following is not None
    assert following.offsets[following.partitions == 1][0] == len(of_1)


def test_large_record_makes_the_steps_after_it_smaller(broker: KafkaBroker, group: Group) -> None:
    group.waiting = [Record(1, 0, 4 * MIB), *(Record(1, i, 4 * MIB) for i in range(1, 50))]
    broker.poll(2_000, 0.0)
    assert group.taken == [8]
    group.taken.clear()
    group.waiting = [Record(1, i, 1000 if i < 8 else MIB) for i in range(100)]
    broker.poll(2_000, 0.0)
    assert group.taken == [8, 16, 16]


def test_usual_batch_takes_a_few_calls_of_the_client(broker: KafkaBroker, group: Group) -> None:
    group.waiting = [Record(1, i, 2_300) for i in range(5_000)]
    broker.poll(2_000, 0.0)
    assert len(group.taken) <= 8


def test_client_that_fails_in_the_middle_of_a_batch_loses_none_of_its_records(
    broker: KafkaBroker, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its position is past the records that were taken: the next poll must return them."""
    taken = group.consume

    def consume(*_: Any) -> list[Record]:
        raise LOADING

    monkeypatch.setattr(group, "consume", consume)
    with pytest.raises(RetryableError, match="COORDINATOR_LOAD_IN_PROGRESS"):
        broker.poll(10, 0.0)
    monkeypatch.setattr(group, "consume", taken)
    polled = poll(broker)
    assert (polled.partitions[0], polled.offsets[0]) == (0, 0)


@pytest.mark.parametrize("code", [KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG,
                                  KafkaError.INVALID_MSG])  # fmt: skip
def test_unreadable_batch_of_one_partition_neither_stops_nor_slows_the_others(
    broker: KafkaBroker, group: Group, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    for _ in range(3):  # the client reports it about twice a second
        group.waiting = [Failed(1, 17, code=code)]
        assert poll(broker).partitions.tolist() == [0]
    assert list(broker.unreadable()) == [1]
    assert "stream-scorer dlq skip 1-17" in broker.unreadable()[1]
    assert [r.levelname for r in caplog.records if "dlq skip 1-17" in r.getMessage()] == ["ERROR"]


def test_unreadable_batch_alone_is_no_error_of_the_poll(broker: KafkaBroker, group: Group) -> None:
    poll(broker)
    group.waiting = []
    original, group.poll = group.poll, lambda _: Failed(1, 17)  # type: ignore[method-assign]
    assert broker.poll(10, 0.0) is None
    group.poll = original  # type: ignore[method-assign]


def test_unreadable_batch_is_forgotten_once_it_is_passed_or_revoked(
    broker: KafkaBroker, group: Group
) -> None:
    group.waiting = [Failed(1, 17)]
    poll(broker)
    group.waiting = [Record(1, 16)]  # an earlier one that was read again
    poll(broker)
    assert list(broker.unreadable()) == [1]
    group.waiting = [Record(1, 18)]
    poll(broker)
    assert broker.unreadable() == {}
    group.waiting = [Failed(1, 19)]
    poll(broker)
    group.waiting, group.events = [], [group.take_away]
    poll(broker)
    assert broker.unreadable() == {}


def test_other_errors_of_a_partition_are_still_errors(broker: KafkaBroker, group: Group) -> None:
    poll(broker)
    group.waiting = []
    group.poll = lambda _: Failed(1, 17, code=KafkaError._TRANSPORT)  # type: ignore[method-assign]
    with pytest.raises(RetryableError):
        broker.poll(10, 0.0)
