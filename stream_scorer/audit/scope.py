"""The scope of an audit: the offsets to judge, the outcomes to read, the topics' identity."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.audit.committed import count_uncommitted, fetch_marks, find_problems
from stream_scorer.audit.expiry import Cuts, find_cuts
from stream_scorer.audit.records.columns import OutcomeKind
from stream_scorer.audit.state_file import AuditIdentity
from stream_scorer.errors import UsageError
from stream_scorer.kafka.admin import topic_config, topic_ids
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.reader import QUERY_SECONDS, committed_spans, time_offsets, written_spans
from stream_scorer.kafka.spans import Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.settings import GroupSettings

_AUDIT_GROUP: Final = "-verify"  # added to the scorers' group id; it never joins or commits


@dataclass(frozen=True, slots=True)
class AuditRange:
    """Which inputs to judge.

    Attributes:
        committed_only: only inputs that the scorers' group has committed.
        since: only inputs from this time on, epoch milliseconds.
        until: only inputs before this time, epoch milliseconds.
    """

    committed_only: bool = False
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The topics as they were when the audit began.

    Attributes:
        settings: broker, topics, registry and group.
        group: the reader's group id; it never joins a group or commits.
        identity: ids of cluster, topics and group.
        inputs: the input topic up to its last stable offset.
        lows: the first offset to judge, by partition.
        edges: the offset to stop before, by partition.
        ends: the outcome topics up to their high watermarks, so open txns are waited for.
        committed: the group's committed offsets, by partition.
        marks: the fields of their marks, by partition.
        uncommitted: number of offsets the group has not committed; None if it never committed.
        outside: number of offsets before or after the requested range of times.
        problems: what is wrong with the group's committed offsets, a sentence each.
        is_compacted: the input topic is compacted.
        cuts: which outcomes retention can have removed.
    """

    settings: GroupSettings
    group: str
    identity: AuditIdentity
    inputs: Spans
    lows: Mapping[int, int]
    edges: Mapping[int, int]
    ends: Mapping[OutcomeKind, Spans]
    committed: Mapping[int, int]
    marks: Mapping[int, Mapping[str, str]]
    uncommitted: int | None
    outside: int
    problems: tuple[str, ...]
    is_compacted: bool
    cuts: Cuts

    def topic(self, kind: OutcomeKind) -> str:
        """The topic with outcomes of a kind."""
        return self.settings.output_topic if kind is OutcomeKind.SCORE else self.settings.dlq_topic

    def inputs_now(self) -> Spans:
        """The offsets that the input partitions hold now."""
        return committed_spans(
            self.settings, self.group, self.settings.input_topic, len(self.inputs)
        )


def open_scope(settings: GroupSettings, wanted: AuditRange) -> Scope:
    """Query the broker for the scope of an audit.

    The order matters: first the ends of the inputs and the group's offsets, then the high
    watermarks of the outcomes. Every input that was committed at the first query then has its
    outcome before the watermarks of the second.

    Raises:
        UsageError: no broker answers, a topic is missing or cannot be audited, or only committed
            inputs were requested and the group has committed nothing.
    """
    topics = (settings.input_topic, settings.output_topic, settings.dlq_topic)
    counts = require_topics(settings, topics)
    group = settings.kafka_group_id + _AUDIT_GROUP
    configs = _fetch_configs(settings)
    is_compacted = _check_cleanup(settings, configs)
    inputs = committed_spans(settings, group, topics[0], counts[topics[0]])
    marks = fetch_marks(settings, inputs)
    committed = {p: mark.offset for p, mark in marks.items()}
    if wanted.committed_only and not committed:
        raise UsageError(
            f"group {settings.kafka_group_id} has committed nothing on topic {topics[0]}, "
            "so there is nothing to judge; check KAFKA_GROUP_ID"
        )
    identity = _identify(settings)
    problems = find_problems(settings, group, marks, inputs, identity.topics["input"][1])
    lows, edges, outside = _select(settings, group, inputs, committed, wanted)
    return Scope(
        settings=settings,
        group=group,
        identity=identity,
        inputs=inputs,
        lows=lows,
        edges=edges,
        ends={
            OutcomeKind.SCORE: written_spans(settings, group, topics[1], counts[topics[1]]),
            OutcomeKind.DEAD_LETTER: written_spans(settings, group, topics[2], counts[topics[2]]),
        },
        committed=committed,
        marks={p: mark.fields for p, mark in marks.items()},
        uncommitted=count_uncommitted(inputs, committed),
        outside=outside,
        problems=problems,
        is_compacted=is_compacted,
        cuts=find_cuts(
            {
                OutcomeKind.SCORE: configs[settings.output_topic],
                OutcomeKind.DEAD_LETTER: configs[settings.dlq_topic],
            },
            time.time_ns() // 1_000_000,
        ),
    )


def _select(
    settings: GroupSettings,
    group: str,
    inputs: Spans,
    committed: Mapping[int, int],
    wanted: AuditRange,
) -> tuple[dict[int, int], dict[int, int], int]:
    """First offset and end of the inputs to judge, and how many offsets the times leave out."""
    topic = settings.input_topic
    lows = {p: span.low for p, span in inputs.items()}
    edges = {p: span.high for p, span in inputs.items()}
    if wanted.committed_only:
        edges = {p: min(edge, committed.get(p, lows[p])) for p, edge in edges.items()}
    most = sum(max(0, edge - lows[p]) for p, edge in edges.items())
    if wanted.until is not None:
        until = time_offsets(settings, group, topic, inputs, wanted.until)
        edges = {p: min(edge, until[p]) for p, edge in edges.items()}
    if wanted.since is not None:
        since = time_offsets(settings, group, topic, inputs, wanted.since)
        lows = {p: max(low, since[p]) for p, low in lows.items()}
    edges = {p: max(lows[p], edge) for p, edge in edges.items()}
    return lows, edges, most - sum(edge - lows[p] for p, edge in edges.items())


def _fetch_configs(settings: GroupSettings) -> dict[str, dict[str, str]]:
    admin = open_admin(settings)
    topics = (settings.input_topic, settings.output_topic, settings.dlq_topic)
    return {topic: topic_config(admin, topic) for topic in topics}


def _check_cleanup(settings: GroupSettings, configs: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the input is compacted; raises if outcomes are, since they then prove nothing."""
    compacted = [
        topic for topic, config in configs.items() if "compact" in config.get("cleanup.policy", "")
    ]
    if outcomes := [topic for topic in compacted if topic != settings.input_topic]:
        raise UsageError(
            f"{', '.join(outcomes)} is compacted: Kafka removes an outcome when a newer one has "
            "the same key, so nothing can be proved; set cleanup.policy=delete"
        )
    return bool(compacted)


def _identify(settings: GroupSettings) -> AuditIdentity:
    roles = {
        "input": settings.input_topic,
        "scores": settings.output_topic,
        "dead_letters": settings.dlq_topic,
    }
    admin = open_admin(settings)
    cluster, ids = topic_ids(admin, sorted(set(roles.values())), QUERY_SECONDS)
    named = {role: (name, ids[name]) for role, name in roles.items()}
    return AuditIdentity(cluster, named, settings.kafka_group_id)
