"""Decides whether a group may continue at an offset: of this topic, and inside its log. Pure.

The driver would decide with ``auto.offset.reset``: it then reads everything again after a truncated
log or lost offsets, and skips records that were removed, with a line in its own log at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from stream_scorer.kafka.mark import TOPIC_ID, parse_mark
from stream_scorer.kafka.spans import Span

FROM_START: Final = (
    "To score everything that the topic still holds, stop all scorers of the group and start one "
    "with: stream-scorer run --from-start. To continue elsewhere, set the group's offsets with "
    "kafka-consumer-groups.sh --reset-offsets while no scorer is running"
)


class Fault(Enum):
    """Why a committed offset cannot be used."""

    RECREATED = auto()
    BEYOND = auto()
    MISSING = auto()


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group committed for one partition.

    Attributes:
        offset: the next offset to read; None if nothing is committed.
        mark: the text beside it.
    """

    offset: int | None
    mark: str | None = None

    @property
    def topic_id(self) -> str | None:
        """The id of the topic that the offset belongs to, if the mark has it."""
        return parse_mark(self.mark).get(TOPIC_ID)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A partition at whose committed offset the group must not continue."""

    partition: int
    fault: Fault
    committed: Committed
    span: Span


def find_unusable(
    committed: Mapping[int, Committed],
    spans: Mapping[int, Span],
    topic_id: str | None,
    outcomes: Iterable[int] = (),
) -> list[Unusable]:
    """The partitions at whose committed offset the group must not continue.

    An offset before the log's start is usable: the records in between are lost, which is reported
    when they would be read, and nothing is gained by stopping.

    Args:
        committed: by partition, for all partitions of the input.
        spans: the log's bounds, including open transactions.
        topic_id: the id that the input topic has now, if known.
        outcomes: partitions whose outcomes some scorer has already written.
    """
    known = frozenset(outcomes)
    found = []
    for partition, place in sorted(committed.items()):
        span = spans[partition]
        fault = None
        if place.offset is None:
            fault = Fault.MISSING if partition in known else None
        elif is_recreated(place, topic_id):
            fault = Fault.RECREATED
        elif place.offset > span.high:
            fault = Fault.BEYOND
        if fault is not None:
            found.append(Unusable(partition, fault, place, span))
    return found


def is_recreated(place: Committed, topic_id: str | None) -> bool:
    """Whether an offset belongs to a topic of the same name that was deleted since."""
    return None not in (topic_id, place.topic_id) and place.topic_id != topic_id


def explain(group: str, topic: str, topic_id: str | None, unusable: Sequence[Unusable]) -> str:
    """What is wrong with the group's offsets, and what an operator can do."""
    parts = []
    by_fault = {f: [u for u in unusable if u.fault is f] for f in Fault}
    if recreated := by_fault[Fault.RECREATED]:
        old = sorted({str(u.committed.topic_id) for u in recreated})
        parts.append(recreated_text(topic, ", ".join(old), topic_id, f"group {group}"))
    parts += [
        f"group {group} has committed offset {one.committed.offset} of {topic} partition "
        f"{one.partition}, but its log ends at {one.span.high}: the topic was truncated, "
        "restored or recreated, or the offset was set by hand"
        for one in by_fault[Fault.BEYOND]
    ]
    if missing := by_fault[Fault.MISSING]:
        parts.append(
            f"group {group} has no committed offset for {topic} "
            f"{name_partitions(u.partition for u in missing)}, but outcomes of those inputs are "
            "already there: the group or its offsets were deleted or have expired, the topic was "
            "recreated, or KAFKA_GROUP_ID was changed. Scoring them would write their outcomes "
            "again"
        )
    return "; ".join(parts) + f". {FROM_START}"


def recreated_text(topic: str, old: str, new: str | None, whose: str) -> str:
    """That the topic was recreated."""
    return (
        f"topic {topic} was deleted and recreated: the offsets of {whose} belong to the topic with "
        f"id {old}, and the topic now has id {new}"
    )


def name_partitions(partitions: Iterable[int]) -> str:
    """Partitions in words: ``partition 3``, or ``partitions 0, 1, 2``."""
    numbers = sorted(partitions)
    return f"partition{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"
