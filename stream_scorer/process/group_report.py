"""The state of the scorers' group for an operator: are its offsets usable, and what is unread."""

from __future__ import annotations

from dataclasses import dataclass

from stream_scorer.kafka.admin import describe_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.observability.partition_watch import KafkaBacklog
from stream_scorer.process.earlier_outcomes import EarlierOutcomes
from stream_scorer.runtime.registry import open_resolver
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.group_offsets import GroupOffsets
from stream_scorer.stream.offset_check import explain

_REQUEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GroupReport:
    """The offsets of a group.

    Attributes:
        partitions: of the input topic.
        committed: partitions for which something is committed.
        unread: records from the first unread one to the end, in partitions that have one.
        markers: offsets after the committed ones that no record is at: only transaction markers
            and aborted records, which a lag by offsets counts for as long as nothing follows.
        problem: why a scorer would not start at these offsets; None if it would.
    """

    partitions: int
    committed: int
    unread: int
    markers: int
    problem: str | None


def report_group(settings: GroupSettings) -> GroupReport:
    """Compare the group's offsets with the input topic.

    Raises:
        RetryableError, FatalError: a request failed.
    """
    group, topic = settings.kafka_group_id, settings.input_topic
    summary = describe_topics(open_admin(settings), [topic], _REQUEST_SECONDS)[topic]
    outcomes = EarlierOutcomes(settings, open_resolver(settings, "fraud_score"))
    offsets = GroupOffsets(settings, group, topic, summary.topic_id, outcomes)
    partitions = range(summary.partitions)
    lag = offsets.lag(partitions)
    backlog = KafkaBacklog(settings, group, topic)
    try:
        unread = backlog.backlog(partitions)
    finally:
        backlog.close()
    unusable = offsets.find_unusable(partitions)
    return GroupReport(
        summary.partitions,
        sum(records is not None for records in lag.values()),
        sum(b.end - b.next_offset for b in unread.values()),
        sum(records or 0 for p, records in lag.items() if p not in unread),
        explain(group, topic, summary.topic_id, unusable) if unusable else None,
    )
