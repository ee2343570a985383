"""Where a partition is started that the driver cannot read, without a broker."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import TopicSummary
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import group_offsets
from stream_scorer.stream.group_offsets import GroupOffsets, Start

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
