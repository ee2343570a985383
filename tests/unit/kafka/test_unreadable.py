"""The end of a batch that a client cannot read, found on a log of batches in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import RetryableError
from stream_scorer.kafka import unreadable
from stream_scorer.kafka.driver import KafkaError, Message, TopicPartition
from stream_scorer.kafka.sizes import RECEIVE_MAX_BYTES
from stream_scorer.kafka.unreadable import (
    LARGE_RECEIVE_BYTES,
    UnreadableBatch,
    describe_unreadable,
    pass_batch,
)
from stream_scorer.runtime.settings import KafkaSettings

SMALL, LARGE, HUGE = 1_000, RECEIVE_MAX_BYTES + 1, LARGE_RECEIVE_BYTES + 1


@dataclass
class Batch:
    """Offsets ``begin`` to ``end``, of which those in ``gaps`` have no record."""

    begin: int
    end: int
    size: int
    gaps: Sequence[int] = ()


class Log:
    """Partition 0 of topic t, and the consumers that read it."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.end = batches[-1].end
        self.probes = 0

    def open(self, _: Any, config: dict[str, Any]) -> Reader:
        assert config["isolation.level"] == "read_committed"
        return Reader(self, int(config["receive.message.max.bytes"]))


class Reader:
    def __init__(self, log: Log, limit: int) -> None:
        self._log = log
        self._limit = limit
        self._at = 0

    def assign(self, places: list[TopicPartition]) -> None:
        (place,) = places
        self._at = place.offset
        self._log.probes += 1

    def unassign(self) -> None:
        self._at = -1

    def close(self) -> None:
        pass

    def poll(self, _: float) -> Message:
        assert self._at >= 0
        while self._at < self._log.end:
            batch = next(b for b in self._log.batches if b.begin <= self._at < b.end)
            if batch.size > self._limit:  # again and again, at the offset that was fetched
                return message(self._at, KafkaError(KafkaError._BAD_COMPRESSION))
            offset, self._at = self._at, self._at + 1
            if offset not in batch.gaps:
                return message(offset)
        return message(self._at, KafkaError(KafkaError._PARTITION_EOF))


def message(offset: int, error: KafkaError | None = None) -> Message:
    return Message("t", 0, offset, b"k", b"%d" % offset, None, error, (1, 7_000 + offset))


def passing(log: Log, begin: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(unreadable, "build_client", log.open)
    return pass_batch(KafkaSettings(), "g", "t", 0, begin, log.end)


def test_records_of_a_large_batch_are_read_with_the_larger_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log([Batch(0, 5, SMALL), Batch(5, 12, LARGE, gaps=[8]), Batch(12, 20, SMALL, gaps=[12])])
    passed = passing(log, 6, monkeypatch)
    assert (passed.begin, passed.next_offset, passed.time) == (6, 12, 7_013)
    assert [m.offset() for m in passed.records] == [6, 7, 9, 10, 11]


def test_batch_that_cannot_be_read_at_all_is_passed_without_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = passing(Log([Batch(0, 9, HUGE), Batch(9, 10, SMALL)]), 0, monkeypatch)
    assert (passed.next_offset, passed.records) == (9, None)


def test_batch_at_the_end_of_the_log_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = passing(Log([Batch(0, 1, LARGE)]), 0, monkeypatch)
    assert passed.next_offset == 1
    assert [m.offset() for m in passed.records] == [0]
    assert passed.time > 1_700_000_000_000  # nothing follows it


def test_batch_that_can_be_read_after_all_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = passing(Log([Batch(0, 9, SMALL)]), 3, monkeypatch)
    assert (passed.next_offset, passed.records) == (3, [])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(1, 3_000), st.integers(0, 20))
def test_end_is_found_with_few_probes(before: int, size: int, after: int) -> None:
    batches = [Batch(before, before + size, LARGE)]
    batches = ([Batch(0, before, SMALL)] if before else []) + batches
    batches += [Batch(before + size, before + size + after, SMALL)] if after else []
    log = Log(batches)
    with pytest.MonkeyPatch.context() as patch:
        assert passing(log, before, patch).next_offset == before + size
    assert log.probes < 30


def test_broker_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable, "_PROBE_SECONDS", 0.0)
    with pytest.raises(RetryableError, match="t partition 0 could not be read at offset 0"):
        passing(Log([Batch(0, 1, LARGE)]), 0, monkeypatch)


def test_description_has_the_place_the_cause_and_the_command() -> None:
    text = describe_unreadable("transactions", 3, UnreadableBatch(17, "Invalid compressed data"))
    for part in ("offset 17 of transactions partition 3", "Invalid compressed data",
                 "stop the scorers and run: stream-scorer dlq skip 3-17"):  # fmt: skip
        assert part in text
