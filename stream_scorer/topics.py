"""``stream-scorer topics``: makes the system's topics, and tells what is wrong with old ones."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.console import aligned, existing_topics, note, say, say_json
from stream_scorer.errors import FatalError
from stream_scorer.runtime.kafka import (
    INPUT_MAX_BYTES,
    OUTPUT_MAX_BYTES,
    AdminClient,
    create_topics,
    extend_topics,
    open_admin,
    topic_config,
)
from stream_scorer.runtime.settings import TopicSettings, load_settings
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


def run_create(args: argparse.Namespace) -> int:
    """``topics create``: exit code 0, also when all were there; warnings are printed."""
    settings = load_settings(GroupSettings)
    states = ensure_topics(settings, args.partitions or DEFAULT_PARTITIONS, args.replication_factor)
    _show(states, as_json=args.json)
    have = next(state.partitions for state in states if state.name == settings.input_topic)
    if args.partitions not in (None, have):
        note(
            f"{settings.input_topic} was there with {have} partitions and keeps them: adding some "
            "would move cards to other partitions"
        )
    return 0


def run_list(args: argparse.Namespace) -> int:
    """``topics list``: exit code 1 when a topic is missing or does not fit."""
    settings = load_settings(GroupSettings)
    states = topic_states(settings)
    missing = [name for name in wanted_topics(settings) if name not in {s.name for s in states}]
    _show(states, as_json=args.json)
    if missing and not args.json:
        say(f"missing: {', '.join(missing)}; make them with: stream-scorer topics create")
    return 1 if missing or any(state.warnings for state in states) else 0


def _show(states: list[TopicState], *, as_json: bool) -> None:
    if as_json:
        say_json(
            [
                {
                    "topic": state.name,
                    "partitions": state.partitions,
                    "max_message_bytes": state.max_bytes,
                    "made": state.made,
                    "extended": state.extended,
                    "warnings": list(state.warnings),
                }
                for state in states
            ]
        )
        return
    rows = [
        [
            state.name,
            f"{state.partitions} partitions",
            f"records up to {state.max_bytes / 2**20:.0f} MiB",
            "made" if state.made else "extended" if state.extended else "",
        ]
        for state in states
    ]
    for line in aligned(rows, right=(1,)):
        say(line)
    for warning in (warning for state in states for warning in state.warnings):
        say(f"warning: {warning}")
