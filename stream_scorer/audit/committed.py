"""The committed offsets of the scorers' group, and whether they can belong to the input topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import KafkaException, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.reader import QUERY_SECONDS, written_spans
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.kafka.spans import Spans
from stream_scorer.settings import GroupSettings

_TOPIC_ID: Final = "t"  # the key of the input's topic id in the metadata of a committed offset


@dataclass(frozen=True, slots=True)
class CommittedMark:
    """A committed offset, and the fields of its mark."""

    offset: int
    fields: Mapping[str, str]

    @property
    def topic_id(self) -> str | None:
        """The id of the topic it was committed for, if that is known."""
        return self.fields.get(_TOPIC_ID)


def parse_mark(offset: int, metadata: str | None) -> CommittedMark:
    """The mark in the metadata of a committed offset: ``key=value`` pairs joined by ``;``."""
    pairs = dict(pair.split("=", 1) for pair in (metadata or "").split(";") if "=" in pair)
    return CommittedMark(offset, pairs)


def fetch_marks(settings: GroupSettings, spans: Spans) -> dict[int, CommittedMark]:
    """The committed offsets of the scorers' group; partitions it never committed are absent.

    Raises:
        RetryableError, FatalError: the offsets could not be fetched.
    """
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        places = [TopicPartition(settings.input_topic, p) for p in spans]
        found = fetch_committed(consumer, places, QUERY_SECONDS)
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()
    return {
        part.partition: parse_mark(part.offset, part.metadata) for part in found if part.offset >= 0
    }


def find_problems(
    settings: GroupSettings,
    reader_group: str,
    marks: Mapping[int, CommittedMark],
    inputs: Spans,
    topic_id: str,
) -> tuple[str, ...]:
    """Committed offsets that cannot belong to the topic as it is now, in words."""
    topic, group = settings.input_topic, settings.kafka_group_id
    ends = {p: span.high for p, span in inputs.items()}
    if any(mark.offset > ends[p] for p, mark in marks.items()):
        # Usually the scorers have gone on since the ends were queried: query them again.
        now = written_spans(settings, reader_group, topic, len(inputs))
        ends = {p: span.high for p, span in now.items()}
    return tuple(describe_problems(topic, group, marks, ends, topic_id))


def describe_problems(
    topic: str, group: str, marks: Mapping[int, CommittedMark], ends: Mapping[int, int],
    topic_id: str,
) -> list[str]:  # fmt: skip
    """One sentence for each committed offset that is beyond the end, and one for an old topic."""
    found = [
        f"group {group} has committed offset {mark.offset} of {topic} partition {p}, which ends "
        f"at {ends[p]}: the topic was truncated, restored or recreated, or the offset was set by "
        "hand"
        for p, mark in sorted(marks.items())
        if mark.offset > ends[p]
    ]
    others = sorted({mark.topic_id for mark in marks.values() if mark.topic_id} - {topic_id})
    if others and topic_id:
        found.append(
            f"group {group} has committed offsets of an earlier topic {topic} (id "
            f"{', '.join(others)}; now {topic_id}): the topic was deleted and recreated"
        )
    return found


def count_uncommitted(spans: Spans, offsets: Mapping[int, int]) -> int | None:
    """Offsets after the committed ones; an upper bound for inputs, as txn markers count too.

    None if nothing is committed. The offsets are newer than the spans: a group that has committed
    more than the spans hold has left nothing there uncommitted.
    """
    if not offsets:
        return None
    return sum(
        max(0, span.high - max(span.low, offsets.get(p, span.low))) for p, span in spans.items()
    )
