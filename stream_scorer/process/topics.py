"""Creates and checks the topics that a scorer needs."""

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

DEFAULT_PARTITIONS: Final = 12
"""As many scorers can share the work; changing it later re-maps the cards."""

BROKER_DEFAULT_REPLICATION: Final = -1
"""Kafka's word for "as the broker is configured" (KIP-464)."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it is, against what this system needs."""

    name: str
    partitions: int
    max_bytes: int
    made: bool
    extended: bool
    warnings: tuple[str, ...]


def wanted_topics(settings: TopicSettings) -> dict[str, dict[str, str]]:
    """The topics of the system and their configuration.

    Output and dead letter topic take more than the input, so that whatever could be read can be
    dead-lettered with its headers. Labels stay for ever: the last one for a transaction stands,
    and the earlier ones are its history, so the topic is not compacted either.
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
    }


def ensure_topics(
    settings: GroupSettings,
    partitions: int = DEFAULT_PARTITIONS,
    replication_factor: int = BROKER_DEFAULT_REPLICATION,
) -> list[TopicState]:
    """Create the topics that are missing, and give scores and dead letters the input's partitions.

    Outcomes name their partition themselves, so more partitions move none of them. All else that
    is there is left as it is, and judged.

    Raises:
        UsageError: no broker answers.
        RetryableError, FatalError: the broker refused to make or extend a topic.
    """
    admin = open_admin(settings)
    wanted = wanted_topics(settings)
    found = existing_topics(settings, list(wanted), admin)
    # An input that is already there decides: scores go to the same partition numbers.
    count = found.get(settings.input_topic, partitions)
    missing = {name: config for name, config in wanted.items() if name not in found}
    made = create_topics(admin, missing, count, replication_factor) if missing else {}
    outcomes = (settings.output_topic, settings.dlq_topic)
    short = [name for name in outcomes if found.get(name, count) < count]
    if short:
        extend_topics(admin, short, count)
    return _judge(admin, settings, made, short)


def topic_states(settings: GroupSettings) -> list[TopicState]:
    """The topics of the system that exist, judged.

    Raises:
        UsageError: no broker answers.
    """
    return _judge(open_admin(settings), settings, {}, ())


def _judge(
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
    """What a topic takes; ``otherwise``, and a warning, where we have no right to ask."""
    try:
        return int(topic_config(admin, name).get(MAX_BYTES, "0")), ()
    except FatalError:
        return otherwise, (f"no right to read {MAX_BYTES} (DESCRIBE_CONFIGS): it is not checked",)


def _needed(settings: TopicSettings, name: str, counts: Mapping[str, int]) -> int | None:
    """The partition count a topic must have; None where any will do."""
    if name in (settings.output_topic, settings.dlq_topic):
        return counts.get(settings.input_topic)
    return None


def topic_faults(
    name: str, partitions: int, max_bytes: int, needed_bytes: int, needed_partitions: int | None
) -> tuple[str, ...]:
    """What is wrong with a topic, in words for its operator; empty when nothing is."""
    faults = []
    if needed_partitions is not None and partitions != needed_partitions:
        mend = " (stream-scorer topics create extends it)" * (partitions < needed_partitions)
        faults.append(
            f"{name} has {partitions} partitions, the input {needed_partitions}: a score goes to "
            f"its input's partition number, so the counts must be equal{mend}"
        )
    if max_bytes < needed_bytes:
        faults.append(
            f"{name} takes records of {max_bytes} bytes, {needed_bytes} are needed: set "
            f"{MAX_BYTES}={needed_bytes} on it"
        )
    return tuple(faults)
