"""Stall detection: stuck partitions are found, and healthy ones are not reported."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.observability.memory_backlog import MemoryBacklog
from stream_scorer.observability.partition_watch import PartitionWatch, stall_advice
from stream_scorer.observability.probes import Health
from stream_scorer.observability.progress import (
    DISTURBED_SECONDS,
    Backlog,
    ProgressWatch,
    Standstill,
)
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster, Record

LIMIT, INTERVAL = 60.0, 10.0


class Watched:
    """A member that commits every record it polls, a watch, and a clock."""

    def __init__(self, partitions: int = 3) -> None:
        self.now = 1_000.0
        self.cluster = MemoryCluster("transactions", partitions)
        self.member = MemoryBroker(self.cluster)
        self.source = MemoryBacklog(self.cluster)
        self.watch = ProgressWatch(LIMIT, INTERVAL, clock=lambda: self.now)

    def fill(self, *partitions: int) -> None:
        for partition in partitions:
            self.cluster.produce(partition, Record(b"1", b"x"))

    def poll_and_commit(self) -> None:
        polled = self.member.poll(100, 0)
        if polled is not None:
            self.member.begin().commit(polled)
            self.watch.progressed(polled.next_offsets())

    def check(self, after: float = INTERVAL) -> None:
        self.now += after
        self.watch.check(self.member.assigned(), self.source)

    def run(self, seconds: float) -> None:
        """Produce to every partition, poll and check, every ten seconds."""
        for _ in range(int(seconds / INTERVAL)):
            self.fill(*range(self.cluster.partitions))
            self.poll_and_commit()
            self.check()

    def stuck(self) -> set[int]:
        return set(self.watch.stuck())


def test_only_the_partition_that_stops_delivering_is_stuck() -> None:
    it = Watched()
    it.run(120)
    assert it.stuck() == set()
    it.cluster.silent.add(1)
    it.run(60)
    assert it.stuck() == set()
    it.run(20)
    assert it.stuck() == {1}
    assert it.watch.stuck()[1].backlog == Backlog(12, 20)
    assert it.watch.seconds()[0] == 0
    it.cluster.silent.clear()
    it.run(20)
    assert it.stuck() == set()


def test_partition_with_nothing_to_read_is_never_stuck() -> None:
    it = Watched()
    it.run(20)
    for _ in range(100):
        it.check()
    assert it.watch.seconds() == {0: 0, 1: 0, 2: 0}


def test_partition_never_read_since_its_assignment_is_stuck() -> None:
    it = Watched()
    it.cluster.silent |= {0, 1, 2}
    it.run(90)
    assert it.stuck() == {0, 1, 2}


def test_partition_is_not_stuck_while_the_loop_only_backs_off() -> None:
    it = Watched()
    it.fill(0, 1, 2)
    for _ in range(100):
        it.watch.disturbed()
        it.check(INTERVAL)
    assert it.watch.seconds() == {0: 0, 1: 0, 2: 0}


def test_occasional_aborts_neither_clear_nor_hide_a_stuck_partition() -> None:
    it = Watched()
    it.cluster.silent.add(2)
    found = []
    for _ in range(8):
        it.run(50)
        it.watch.disturbed()
        found.append(it.stuck())
    assert found[0] == set()
    assert found[3:] == [{2}] * 5


def test_time_right_after_an_abort_does_not_count() -> None:
    it = Watched()
    it.cluster.silent.add(0)
    it.run(10)
    it.watch.disturbed()
    before = it.watch.seconds()[0]
    it.run(20)
    assert it.watch.seconds()[0] - before == 20 - DISTURBED_SECONDS


@pytest.mark.parametrize("error", [RetryableError("down"), FatalError("forbidden")])
def test_result_is_kept_while_the_broker_does_not_answer(error: Exception) -> None:
    it = Watched()
    it.cluster.silent.add(1)
    it.run(90)
    assert it.stuck() == {1}
    it.cluster.faults["backlog"] = [error] * 3
    for _ in range(3):
        with pytest.raises(type(error)):
            it.check()
        assert it.stuck() == {1}


def test_time_in_which_the_process_was_suspended_hardly_counts() -> None:
    it = Watched()
    it.cluster.silent.add(1)
    it.run(20)
    it.fill(1)
    it.check(after=3_600)
    assert it.stuck() == set()
    assert it.watch.seconds()[1] <= 10 + 2 * INTERVAL


def test_time_starts_at_zero_for_a_partition_that_is_assigned_again() -> None:
    it = Watched(2)
    it.cluster.silent.add(1)
    it.run(90)
    assert it.stuck() == {1}
    other = MemoryBroker(it.cluster)
    it.member.poll(1, 0)
    assert it.member.assigned() == {0}
    it.check()
    assert it.stuck() == set()
    other.close()
    it.run(30)
    assert it.stuck() == set()
    it.run(60)
    assert it.stuck() == {1}


def test_stuck_partition_makes_the_process_unready_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = MemoryCluster("transactions", 2)
    member = MemoryBroker(cluster)
    cluster.produce(1, Record(b"1", b"x"))
    health = Health(lambda: True)
    health.joined()

    def report(_: Mapping[int, float], stuck: Mapping[int, Standstill]) -> None:
        health.stuck = {p: stall_advice(p, still) for p, still in stuck.items()}

    watch = PartitionWatch(1e-9, member.assigned, lambda: MemoryBacklog(cluster), report)
    watch.progress = ProgressWatch(1e-9, 1.0)
    caplog.set_level(logging.INFO)
    for _ in range(5):
        watch.check()
    assert not health.report()["ready"]
    assert "partition 1 is stuck: the next record is at offset 0" in str(
        health.report()["stuck_partitions"]["1"]
    )
    assert health.is_live()
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    cluster.committed[1] = 1
    watch.check()
    assert health.report()["ready"]
    assert [r.levelname for r in caplog.records] == ["ERROR", "INFO"]


def test_advice_names_a_committed_offset_that_retention_has_removed() -> None:
    text = stall_advice(4, Standstill(Backlog(500, 900, expired_from=120), 130.0))
    for part in ("partition 4", "offset 500", "120 is outside the topic", "verify"):
        assert part in text


def test_advice_names_the_batch_that_cannot_be_read_and_the_command() -> None:
    cause = "the batch at offset 17 cannot be read; run: stream-scorer dlq skip 4-17"
    text = stall_advice(4, Standstill(Backlog(17, 900), 130.0), cause)
    assert "partition 4 is stuck" in text
    assert cause in text
    assert "Restart" not in text  # which would not help
