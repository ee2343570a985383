"""Where a partition is started that the driver cannot read, without a broker."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import TopicSummary
from stream_scorer.kafka.driver import KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import group_offsets
from stream_scorer.stream.group_offsets import GroupOffsets, Start
from stream_scorer.stream.offset_check import Committed

OUTCOMES: set[int] = {3}
"""The partitions for whose inputs outcomes exist."""


@pytest.fixture
def offsets(monkeypatch: pytest.MonkeyPatch) -> GroupOffsets:
    """Those of a topic whose partitions have the offsets 150 to 500."""
    spans = {p: Span(150, 500) for p in range(4)}
    monkeypatch.setattr(group_offsets, "open_admin", lambda _: None)
    monkeypatch.setattr(group_offsets, "log_spans", lambda *_: spans)
    monkeypatch.setattr(
        group_offsets, "describe_topics", lambda *_: {"in": TopicSummary("id", len(spans))}
    )

    def with_outcomes(partitions: Collection[int]) -> set[int]:
        return OUTCOMES.intersection(partitions)

    return GroupOffsets(KafkaSettings(), "g", "in", "id", with_outcomes)


@pytest.mark.parametrize(
    ("offset", "otherwise", "start"),
    [
        (200, None, Start(200)),
        (500, None, Start(500)),
        (100, None, Start(150, Span(100, 150))),
        (None, None, Start(150)),
        (None, 200, Start(200)),
        (None, 500, Start(500)),
        (None, 100, Start(150, Span(100, 150))),
    ],
)
def test_partition_starts_at_its_offset_or_else_where_it_was_released(
    offsets: GroupOffsets, offset: int | None, otherwise: int | None, start: Start
) -> None:
    assert offsets.resolve(1, offset, otherwise) == start


@pytest.mark.parametrize(("offset", "otherwise"), [(501, None), (None, 501)])
def test_partition_is_not_started_past_its_end(
    offsets: GroupOffsets, offset: int | None, otherwise: int | None
) -> None:
    with pytest.raises(FatalError, match=r"501.*log ends at 500.*--from-start"):
        offsets.resolve(1, offset, otherwise)


@pytest.mark.parametrize("otherwise", [None, 200])
def test_partition_without_an_offset_but_with_outcomes_is_refused(
    offsets: GroupOffsets, otherwise: int | None
) -> None:
    with pytest.raises(FatalError, match=r"no committed offset for in partition 3"):
        offsets.resolve(3, None, otherwise)
    assert offsets.resolve(3, 200, otherwise) == Start(200)


class Stored:
    """A consumer that knows the group's offsets, or cannot find its coordinator."""

    def __init__(self, mark: str, error: KafkaError | None = None) -> None:
        self.mark = mark
        self.error = error
        self.is_closed = False

    def committed(self, places: list[TopicPartition], _: float) -> list[TopicPartition]:
        if self.error is not None:
            raise KafkaException(self.error)
        offsets = {0: 7, 1: -1001}
        return [TopicPartition("in", p.partition, offsets[p.partition], self.mark) for p in places]

    def poll(self, _: float) -> None:
        return None

    def close(self) -> None:
        self.is_closed = True


def test_committed_offsets_come_with_their_marks(
    offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored("t=id;era=3;sum=00ff")
    monkeypatch.setattr(group_offsets, "open_consumer", lambda *_: stored)
    assert offsets.committed([0, 1]) == {
        0: Committed(7, "t=id;era=3;sum=00ff"), 1: Committed(None, "t=id;era=3;sum=00ff"),
    }  # fmt: skip
    assert stored.is_closed


def test_committed_offsets_of_a_recreated_topic_are_refused(
    offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored("t=other;era=3")
    monkeypatch.setattr(group_offsets, "open_consumer", lambda *_: stored)
    with pytest.raises(FatalError, match=r"deleted and recreated.*id other.*id id"):
        offsets.committed([0])
    assert stored.is_closed


def test_committed_offsets_that_cannot_be_read_leave_no_client_behind(
    offsets: GroupOffsets, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored("", KafkaError(KafkaError._TIMED_OUT))
    monkeypatch.setattr(group_offsets, "open_consumer", lambda *_: stored)
    monkeypatch.setattr(group_offsets, "_QUERY_SECONDS", 0.0)
    with pytest.raises(RetryableError):
        offsets.committed([0])
    assert stored.is_closed
