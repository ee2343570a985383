"""Whether a group may continue at its committed offsets."""

from __future__ import annotations

import pytest

from stream_scorer.kafka.spans import Span
from stream_scorer.stream.offset_check import (
    Committed,
    Fault,
    explain,
    find_unusable,
    name_partitions,
)

LOG = {0: Span(10, 20)}


def faults(
    place: Committed, topic_id: str | None = "new", outcomes: tuple[int, ...] = ()
) -> list[Fault]:
    return [u.fault for u in find_unusable({0: place}, LOG, topic_id, outcomes)]


@pytest.mark.parametrize("offset", [0, 9, 10, 15, 20])
def test_offset_up_to_the_end_is_usable_even_before_the_start(offset: int) -> None:
    assert faults(Committed(offset, "t=new")) == []


def test_offset_beyond_the_end_is_not() -> None:
    assert faults(Committed(21, "t=new")) == [Fault.BEYOND]


@pytest.mark.parametrize("offset", [0, 15, 20, 500])
def test_offset_of_another_topic_id_is_never_used_wherever_it_is(offset: int) -> None:
    assert faults(Committed(offset, "t=old")) == [Fault.RECREATED]


@pytest.mark.parametrize("mark", [None, "", "era=3", "anything"])
def test_offset_without_a_mark_is_compared_with_the_log_only(mark: str | None) -> None:
    assert faults(Committed(15, mark)) == []
    assert faults(Committed(21, mark)) == [Fault.BEYOND]


def test_unknown_topic_id_compares_nothing() -> None:
    assert faults(Committed(15, "t=old"), topic_id=None) == []


def test_partition_without_an_offset_is_new_unless_its_outcomes_are_there() -> None:
    assert faults(Committed(None)) == []
    assert faults(Committed(None), outcomes=(1,)) == []
    assert faults(Committed(None), outcomes=(0,)) == [Fault.MISSING]


def test_committed_offset_is_usable_although_outcomes_are_there() -> None:
    assert faults(Committed(15, "t=new"), outcomes=(0,)) == []


def test_explanation_names_group_topic_partition_offsets_ids_and_the_ways_out() -> None:
    committed = {0: Committed(7, "t=old"), 1: Committed(99), 2: Committed(None), 3: Committed(None)}
    spans = dict.fromkeys(range(4), Span(0, 50))
    text = explain("g", "in", "new", find_unusable(committed, spans, "new", [2, 3]))
    for part in (
        "topic in was deleted and recreated",
        "id old",
        "id new",
        "committed offset 99 of in partition 1, but its log ends at 50",
        "no committed offset for in partitions 2, 3",
        "stream-scorer run --from-start",
        "--reset-offsets",
    ):
        assert part in text


def test_one_partition_is_named_in_the_singular() -> None:
    assert name_partitions([3]) == "partition 3"
    assert name_partitions([2, 1]) == "partitions 1, 2"
