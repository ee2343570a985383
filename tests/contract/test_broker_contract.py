"""The broker contract that the loop relies on, tested with the in-memory fake and with Kafka."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.mark import parse_mark
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record
from stream_scorer.stream.ports import Broker, Outgoing, Polled
from tests.conftest import MakeTopics
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all, wait_readable
from tests.support.waiting import wait_until

PARTITIONS = 2


class World(Protocol):
    """A broker with an input topic of two partitions, an output topic, and group members."""

    output: str

    def produce(self, values: list[bytes | None]) -> None: ...
    def committed(self) -> list[tuple[int, bytes | None]]: ...
    def settle(self) -> None: ...
    def member(self) -> Broker: ...
    def poll_while_one_returns(self, first: Broker) -> Polled | None:
        """Poll once; meanwhile one partition leaves and returns, then each gets a record."""


@dataclass
class MemoryWorld:
    cluster: MemoryCluster = field(default_factory=lambda: MemoryCluster("in", PARTITIONS))
    output: str = "out"

    def produce(self, values: list[bytes | None]) -> None:
        for i, value in enumerate(values):
            self.cluster.produce(i % PARTITIONS, Record(b"key", value, [("h", b"1")]))

    def committed(self) -> list[tuple[int, bytes | None]]:
        return [(p, r.value) for p, r in self.cluster.read(self.output)]

    def settle(self) -> None:
        """Committed records are visible at once here."""

    def member(self) -> Broker:
        return MemoryBroker(self.cluster)

    def poll_while_one_returns(self, first: Broker) -> Polled | None:
        self.cluster.return_at_once([1])
        self.produce([b"0", b"1"])
        return first.poll(100, 0)


class KafkaWorld:
    def __init__(self, kafka: KafkaUnderTest, topics: TopicSettings, group: str, kind: str) -> None:
        self._kafka = kafka
        self._topics = topics
        self._options = GroupOptions(group, topics.input_topic, kind, 6_000, 60_000, 10_000)
        self.output = topics.output_topic
        self.members: list[KafkaBroker] = []

    def produce(self, values: list[bytes | None]) -> None:
        produce(self._kafka.settings, self._topics.input_topic, values, PARTITIONS, [("h", b"1")])

    def committed(self) -> list[tuple[int, bytes | None]]:
        return [(s.partition, s.value) for s in read_all(self._kafka.settings, self.output)]

    def settle(self) -> None:
        wait_readable(self._kafka.settings, self.output)

    def member(self) -> Broker:
        self.members.append(KafkaBroker(self._kafka.settings, self._options))
        return self.members[-1]

    def poll_while_one_returns(self, first: Broker) -> Polled | None:
        def visit() -> None:
            second = KafkaBroker(self._kafka.settings, self._options)
            second.hold_new(is_on=True)
            deadline = time.monotonic() + 90
            while not second.assigned():
                assert time.monotonic() < deadline
                second.poll(1, 0.1)
            second.close()
            wait_until(lambda: len(first.assigned()) == PARTITIONS)
            self.produce([b"0", b"1"])

        with ThreadPoolExecutor(1) as pool:
            visiting = pool.submit(visit)
            polled = first.poll(100, 90)
            visiting.result()
        return polled


@pytest.fixture(params=["memory", "classic", "consumer"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    kafka: KafkaUnderTest = request.getfixturevalue("kafka")
    topics: MakeTopics = request.getfixturevalue("topics")
    group: str = request.getfixturevalue("group_id")
    found = KafkaWorld(kafka, topics(PARTITIONS), group, request.param)
    yield found
    for member in found.members:
        member.close()


def poll_some(broker: Broker, count: int, timeout: float = 90.0) -> list[Polled]:
    """Poll until ``count`` records have arrived."""
    deadline = time.monotonic() + timeout
    got: list[Polled] = []
    while sum(map(len, got)) < count:
        assert time.monotonic() < deadline, f"{sum(map(len, got))} of {count} records arrived"
        if (polled := broker.poll(100, 0.2)) is not None:
            got.append(polled)
    return got


def poll_while(broker: Broker, goes_on: Callable[[], bool], timeout: float = 90.0) -> None:
    deadline = time.monotonic() + timeout
    while goes_on():
        assert time.monotonic() < deadline
        assert broker.poll(1, 0.1) is None


def echo(world: World, polled: Polled) -> list[Outgoing]:
    return [
        Outgoing(world.output, int(p), None, value, [])
        for p, value in zip(polled.partitions, polled.values, strict=True)
    ]


def commit(world: World, broker: Broker, polled: Polled) -> None:
    txn = broker.begin()
    txn.publish(echo(world, polled))
    txn.commit(polled)
    world.settle()


def values_of(batches: list[Polled]) -> list[bytes | None]:
    return sorted((v for b in batches for v in b.values), key=lambda v: v or b"")


def test_polled_records_are_complete_and_in_offset_order(world: World) -> None:
    world.produce([b"a", b"b", None, b"d", b""])
    batches = poll_some(world.member(), 5)
    assert values_of(batches) == sorted([b"a", b"b", None, b"d", b""], key=lambda v: v or b"")
    for partition in range(PARTITIONS):
        offsets = [
            int(o) for b in batches for p, o in zip(b.partitions, b.offsets, strict=True)
            if p == partition
        ]  # fmt: skip
        assert offsets == list(range(len(offsets)))
    assert all(dict(h or [])["h"] == b"1" for b in batches for h in b.headers)


def test_published_records_are_visible_only_after_the_commit(world: World) -> None:
    world.produce([b"a", b"b"])
    broker = world.member()
    for polled in poll_some(broker, 2):
        txn = broker.begin()
        txn.publish(echo(world, polled))
        shown = world.committed()
        txn.commit(polled)
        world.settle()
        assert len(world.committed()) == len(shown) + len(polled)


def test_aborted_batch_is_invisible_and_redelivered(world: World) -> None:
    world.produce([b"a", b"b", b"c", b"d"])
    broker = world.member()
    for polled in poll_some(broker, 4):
        txn = broker.begin()
        txn.publish(echo(world, polled))
        txn.abort(polled)
    again = poll_some(broker, 4)
    for polled in again:
        commit(world, broker, polled)
    assert sorted(v for _, v in world.committed() if v) == [b"a", b"b", b"c", b"d"]


def test_abort_rewinds_to_the_committed_offsets_and_not_to_the_beginning(world: World) -> None:
    world.produce([b"a", b"b"])
    broker = world.member()
    for polled in poll_some(broker, 2):
        commit(world, broker, polled)
    world.produce([b"c", b"d"])
    for polled in poll_some(broker, 2):
        broker.begin().abort(polled)
    assert values_of(poll_some(broker, 2)) == [b"c", b"d"]


def test_new_member_continues_at_the_committed_offsets(world: World) -> None:
    world.produce([b"a", b"b"])
    first = world.member()
    for polled in poll_some(first, 2):
        commit(world, first, polled)
    first.close()
    if isinstance(world, KafkaWorld):
        world.members.clear()
    world.produce([b"c", b"d"])
    assert values_of(poll_some(world.member(), 2)) == [b"c", b"d"]


def split_partitions(first: Broker, second: Broker) -> None:
    """Both members poll, as concurrent loops would, until each owns one partition."""
    deadline = time.monotonic() + 90
    while not len(first.assigned()) == len(second.assigned()) == 1:
        assert time.monotonic() < deadline, "the partitions were never redistributed"
        first.poll(1, 0.1)
        second.poll(1, 0.1)


def leave_to_first(world: World, first: Broker, second: Broker) -> None:
    """The second member leaves, and the first polls until it owns every partition again."""
    second.close()
    if isinstance(world, KafkaWorld):
        world.members.remove(second)  # type: ignore[arg-type]  # in this world they are Kafka brokers
    deadline = time.monotonic() + 90
    while len(first.assigned()) < PARTITIONS:
        assert time.monotonic() < deadline, "the partition was never assigned again"
        first.poll(100, 0.1)


def assert_refused(world: World, broker: Broker, polled: Polled) -> None:
    txn = broker.begin()
    txn.publish(echo(world, polled))
    with pytest.raises(RetryableError):
        txn.commit(polled)
    txn.abort(polled)


def test_batch_is_refused_once_its_partition_belongs_to_another_member(world: World) -> None:
    world.produce([b"a", b"b", b"c", b"d"])
    first = world.member()
    batches = poll_some(first, 4)
    second = world.member()
    split_partitions(first, second)
    for polled in batches:
        assert_refused(world, first, polled)
    assert world.committed() == []


def test_batch_polled_ahead_is_refused_when_a_rebalance_follows_the_previous_commit(
    world: World,
) -> None:
    """The case of the loop's look-ahead: two polls, a commit of the first, then a rebalance."""
    world.produce([b"a", b"b", b"c", b"d"])
    first = world.member()
    batches = poll_some(first, 4)
    ahead = batches.pop() if len(batches) > 1 else None
    for polled in batches:
        commit(world, first, polled)
    if ahead is None:
        world.produce([b"e", b"f"])
        ahead = poll_some(first, 1)[-1]
    before = world.committed()
    second = world.member()
    split_partitions(first, second)
    leave_to_first(
        world, first, second
    )  # owned again: only the fence shows that the batch is stale
    assert_refused(world, first, ahead)
    assert world.committed() == before


def test_partition_revoked_and_assigned_again_is_read_from_its_committed_offset(
    world: World,
) -> None:
    """A batch polled before is refused, although the member owns the partition again."""
    world.produce([b"a", b"b", b"c", b"d"])
    first = world.member()
    batches = poll_some(first, 4)
    second = world.member()
    split_partitions(first, second)
    leave_to_first(world, first, second)
    for polled in batches:
        assert_refused(world, first, polled)
    for polled in poll_some(first, 4):
        commit(world, first, polled)
    assert sorted(v for _, v in world.committed() if v) == [b"a", b"b", b"c", b"d"]


def test_lag_is_zero_once_all_records_are_read(world: World) -> None:
    world.produce([b"a"] * 6)
    broker = world.member()
    poll_some(broker, 6)
    assert sum(broker.lag().values()) == 0
    assert broker.assigned() == {0, 1}


def holding_member(world: World) -> Broker:
    """A member that owns both partitions and holds them."""
    broker = world.member()
    broker.hold_new(is_on=True)
    assert broker.poll(1, 0.1) is None
    poll_while(broker, lambda: len(broker.assigned()) < PARTITIONS)
    assert broker.held() == {0, 1}
    return broker


def places(batches: list[Polled]) -> list[tuple[int, int]]:
    """(partition, offset) of each record, in the order of arrival."""
    return [(int(p), int(o)) for b in batches for p, o in zip(b.partitions, b.offsets, strict=True)]


def test_held_partitions_deliver_nothing_and_released_ones_exactly_from_their_offset(
    world: World,
) -> None:
    world.produce([b"a", b"b", b"c", b"d", b"e", b"f"])
    broker = holding_member(world)
    for _ in range(3):
        assert broker.poll(100, 0.1) is None
    broker.release(1, 1)
    assert broker.held() == {0}
    assert places(poll_some(broker, 2)) == [(1, 1), (1, 2)]
    assert broker.poll(100, 0.2) is None
    broker.release(0, 0)
    assert places(poll_some(broker, 3)) == [(0, 0), (0, 1), (0, 2)]
    assert broker.held() == set()
    world.produce([b"g", b"h"])
    assert sorted(places(poll_some(broker, 2))) == [(0, 3), (1, 3)]


def test_partition_without_records_can_be_released_before_they_arrive(world: World) -> None:
    broker = holding_member(world)
    broker.release(0, 0)
    broker.release(1, 0)
    assert broker.poll(100, 0.2) is None
    world.produce([b"a", b"b"])
    assert sorted(places(poll_some(broker, 2))) == [(0, 0), (1, 0)]


def test_partition_with_a_committed_offset_can_be_released_at_it_or_before_it(
    world: World,
) -> None:
    world.produce([b"a", b"b", b"c", b"d"])
    first = world.member()
    for polled in poll_some(first, 4):
        commit(world, first, polled)
    first.close()
    if isinstance(world, KafkaWorld):
        world.members.clear()
    world.produce([b"e", b"f"])
    broker = holding_member(world)
    assert {p: c.offset for p, c in broker.committed([0, 1]).items()} == {0: 2, 1: 2}
    broker.release(0, 2)
    broker.release(1, 1)
    assert sorted(places(poll_some(broker, 3))) == [(0, 2), (1, 1), (1, 2)]


def test_partition_held_while_it_is_read_delivers_no_record_that_has_arrived_already(
    world: World,
) -> None:
    world.produce([b"a", b"b"] * 20)
    broker = world.member()
    first = broker.poll(1, 0.2)
    deadline = time.monotonic() + 90
    while first is None:
        assert time.monotonic() < deadline
        first = broker.poll(1, 0.2)
    (partition,) = first.first_offsets()
    broker.hold([partition, 7])  # one that is not assigned is ignored
    assert broker.held() == {partition}
    others = poll_some(broker, 20)
    assert set(places(others)) == {(1 - partition, offset) for offset in range(20)}
    assert broker.poll(100, 0.2) is None
    broker.release(partition, 5)
    assert places(poll_some(broker, 15)) == [(partition, offset) for offset in range(5, 20)]


def test_rewind_does_not_release_a_held_partition(world: World) -> None:
    world.produce([b"a", b"b", b"c", b"d"])
    broker = world.member()
    batches = poll_some(broker, 4)
    broker.hold([1])
    for polled in batches:
        broker.begin().abort(polled)
    again = poll_some(broker, 2)
    assert sorted(places(again)) == [(0, 0), (0, 1)]
    assert broker.poll(100, 0.2) is None
    broker.release(1, 0)
    assert places(poll_some(broker, 2)) == [(1, 0), (1, 1)]


def test_release_of_a_partition_that_is_not_held_is_ignored(world: World) -> None:
    world.produce([b"a", b"b"])
    broker = world.member()
    poll_some(broker, 2)
    broker.release(0, 0)
    broker.release(9, 0)
    assert broker.poll(100, 0.2) is None
    assert broker.held() == set()


def test_hold_of_new_partitions_can_be_ended_and_keeps_those_held(world: World) -> None:
    world.produce([b"a", b"b"])
    broker = holding_member(world)
    broker.hold_new(is_on=False)
    assert broker.poll(100, 0.2) is None
    assert broker.held() == {0, 1}


def test_marks_are_committed_with_their_offsets_and_read_back(world: World) -> None:
    world.produce([b"a", b"b"])
    broker = world.member()
    assert {c.offset for c in broker.committed([0, 1]).values()} == {None}
    marks: defaultdict[int, Mapping[str, str]] = defaultdict(dict)
    marks[0], marks[1] = {"era": "3", "sum": "00ff"}, {"era": "3", "sum": "1234"}
    for polled in poll_some(broker, 2):
        txn = broker.begin()
        txn.publish(echo(world, polled))
        txn.commit(polled, {p: marks[p] for p in polled.first_offsets()})
    world.settle()
    found = broker.committed([0, 1])
    assert {p: c.offset for p, c in found.items()} == {0: 1, 1: 1}
    for partition, committed in found.items():
        fields = parse_mark(committed.mark)
        assert {name: fields[name] for name in ("era", "sum")} == marks[partition]


def test_marks_of_an_aborted_batch_are_not_stored_and_none_replace_earlier_ones(
    world: World,
) -> None:
    world.produce([b"a", b"b"])
    broker = world.member()
    for polled in poll_some(broker, 2):
        txn = broker.begin()
        txn.publish(echo(world, polled))
        txn.commit(polled, {p: {"sum": "1"} for p in polled.first_offsets()})
    world.settle()
    world.produce([b"c", b"d"])
    for polled in poll_some(broker, 2):
        broker.begin().abort(polled)
    assert {parse_mark(c.mark)["sum"] for c in broker.committed([0, 1]).values()} == {"1"}
    for polled in poll_some(broker, 2):
        commit(world, broker, polled)
    found = broker.committed([0, 1])
    assert {p: c.offset for p, c in found.items()} == {0: 2, 1: 2}
    assert [c.mark for c in found.values() if "sum" in parse_mark(c.mark)] == []


def test_partition_that_leaves_and_returns_within_one_poll_is_counted_and_held_again(
    world: World,
) -> None:
    world.produce([b"a", b"b"])
    broker = holding_member(world)
    for partition in (0, 1):
        broker.release(partition, 0)
    poll_some(broker, 2)
    before = broker.assignments()
    assert before.keys() == {0, 1}
    polled = world.poll_while_one_returns(broker)
    after = broker.assignments()
    returned = {p for p in (0, 1) if after[p] > before[p]}
    assert len(returned) == 1
    assert broker.held() == returned
    (kept,) = {0, 1} - returned
    # Kafka's client reports first that nothing is committed for the partition that returned.
    assert places([polled] if polled else poll_some(broker, 1)) == [(kept, 1)]
    assert broker.poll(100, 0.2) is None
    (back,) = returned
    broker.release(back, 0)  # nothing is committed
    assert places(poll_some(broker, 2)) == [(back, 0), (back, 1)]


def test_partition_that_returns_while_new_ones_are_not_held_is_delivered_at_once(
    world: World,
) -> None:
    """The client keeps a pause together with the partition, over assignments."""
    broker = holding_member(world)
    broker.hold_new(is_on=False)
    second = world.member()
    second.hold_new(is_on=True)
    split_partitions(broker, second)
    leave_to_first(world, broker, second)
    assert len(broker.held()) == 1
    (returned,) = {0, 1} - broker.held()
    world.produce([b"a", b"b"])
    assert places(poll_some(broker, 1)) == [(returned, 0)]


def test_held_partition_stays_held_while_others_move(world: World) -> None:
    world.produce([b"a", b"b"])
    first = holding_member(world)
    second = world.member()
    second.hold_new(is_on=True)
    split_partitions(first, second)
    assert first.held() == first.assigned()
    assert second.held() == second.assigned()
    for broker in (first, second):
        assert broker.poll(100, 0.2) is None
        (owned,) = broker.assigned()
        assert broker.assignments().keys() == {owned}
        broker.release(owned, 0)
        assert places(poll_some(broker, 1)) == [(owned, 0)]


def test_partition_released_past_its_end_ends_the_process(world: World) -> None:
    world.produce([b"a", b"b"])
    broker = holding_member(world)
    broker.release(0, 7)
    with pytest.raises(FatalError, match="log ends"):
        poll_while(broker, lambda: True)
