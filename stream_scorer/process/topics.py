"""Creates and checks the topics that the scorers need."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import create_topics, extend_topics, topic_config
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import AdminClient
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES, OUTPUT_MAX_BYTES
from stream_scorer.kafka.topics import existing_topics
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings

MAX_BYTES: Final = "max.message.bytes"

AUDIT_DAYS: Final = 400
"""How long audit events are kept: a year, and time to look back at its end."""

DEFAULT_PARTITIONS: Final = 12
"""The most scorers that can share the work. Changing it later moves cards to other partitions."""

BROKER_DEFAULT_REPLICATION: Final = -1
"""Means "as the broker is configured" in Kafka's protocol (KIP-464)."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """The state of one topic, compared with what this system needs."""

    name: str
    partitions: int
    max_bytes: int
    made: bool
    extended: bool
    warnings: tuple[str, ...]


def wanted_topics(settings: TopicSettings) -> dict[str, dict[str, str]]:
    """The topics of the system and their configuration.

    Output and dead letter topic accept larger records than the input, so that every input record
    can be dead-lettered with its headers. Labels are kept forever: the last one for a transaction
    is valid and the earlier ones are its history, so the topic is not compacted either. Audit
    events have the broker's time: it decides whose claim of a case came first.
    """
    output = {MAX_BYTES: str(OUTPUT_MAX_BYTES)}
    return {
        settings.input_topic: {MAX_BYTES: str(INPUT_MAX_BYTES)},
        settings.output_topic: output,
        settings.dlq_topic: output,
        settings.labels_topic: {
            MAX_BYTES: str(OUTPUT_MAX_BYTES),
            "cleanup.policy": "delete",
            "retention.ms": "-1",
        },
        settings.audit_topic: {
            MAX_BYTES: str(OUTPUT_MAX_BYTES),
            "cleanup.policy": "delete",
            "retention.ms": str(AUDIT_DAYS * 86_400_000),
            "message.timestamp.type": "LogAppendTime",
        },
        settings.shadow_topic: output,
    }


def ensure_topics(
    settings: GroupSettings,
    partitions: int = DEFAULT_PARTITIONS,
    replication_factor: int = BROKER_DEFAULT_REPLICATION,
) -> list[TopicState]:
    """Create missing topics, and extend those of scores and dead letters to the input's partitions.

    Each outcome is written to an explicit partition, so adding partitions does not move any.
    Everything else about existing topics is checked and left unchanged.

    Raises:
        UsageError: no broker answers.
        RetryableError, FatalError: the broker refused to create or extend a topic.
    """
    admin = open_admin(settings)
    wanted = wanted_topics(settings)
    found = existing_topics(settings, list(wanted), admin)
    # An existing input decides the count: scores go to the same partition numbers.
    count = found.get(settings.input_topic, partitions)
    missing = {name: config for name, config in wanted.items() if name not in found}
    made = create_topics(admin, missing, count, replication_factor) if missing else {}
    outcomes = (settings.output_topic, settings.dlq_topic, settings.shadow_topic)
    short = [name for name in outcomes if found.get(name, count) < count]
    if short:
        extend_topics(admin, short, count)
    return _check(admin, settings, made, short)


def topic_states(settings: GroupSettings) -> list[TopicState]:
    """The existing topics of the system, checked.

    Raises:
        UsageError: no broker answers.
    """
    return _check(open_admin(settings), settings, {}, ())


def _check(
    admin: AdminClient,
    settings: GroupSettings,
    made: Mapping[str, bool],
    extended: Collection[str],
) -> list[TopicState]:
    wanted = wanted_topics(settings)
    counts = existing_topics(settings, list(wanted), admin)
    states = []
    for name in (name for name in wanted if name in counts):
        least = int(wanted[name][MAX_BYTES])
        limit, unknown = _size_limit(admin, name, least)
        warnings = topic_faults(name, counts[name], limit, least, _needed(settings, name, counts))
        warnings += unknown
        states.append(
            TopicState(name, counts[name], limit, made.get(name, False), name in extended, warnings)
        )
    return states


def _size_limit(admin: AdminClient, name: str, otherwise: int) -> tuple[int, tuple[str, ...]]:
    """The largest record of a topic; ``otherwise`` and a warning if we are not authorized."""
    try:
        return int(topic_config(admin, name).get(MAX_BYTES, "0")), ()
    except FatalError:
        return otherwise, (
            f"not authorized to read {MAX_BYTES} (DESCRIBE_CONFIGS), so it is not checked",
        )


def _needed(settings: TopicSettings, name: str, counts: Mapping[str, int]) -> int | None:
    """The partition count a topic must have; None if any count is valid."""
    if name in (settings.output_topic, settings.dlq_topic, settings.shadow_topic):
        return counts.get(settings.input_topic)
    return None


def topic_faults(
    name: str, partitions: int, max_bytes: int, needed_bytes: int, needed_partitions: int | None
) -> tuple[str, ...]:
    """What is wrong with a topic, for its operator; empty if nothing is."""
    faults = []
    if needed_partitions is not None and partitions != needed_partitions:
        fix = (
            " (add the missing partitions with: stream-scorer topics create)"
            if partitions < needed_partitions
            else ""
        )
        faults.append(
            f"{name} has {partitions} partitions, but the input has {needed_partitions}: a score "
            "is written to the same partition number as its input, so the counts must be "
            f"equal{fix}"
        )
    if max_bytes < needed_bytes:
        faults.append(
            f"{name} accepts records of up to {max_bytes} bytes, but {needed_bytes} are needed: "
            f"set {MAX_BYTES}={needed_bytes} on it"
        )
    return tuple(faults)
