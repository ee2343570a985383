"""Checks that a scorer's topics exist and match each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import (
    TopicSummary,
    describe_topics,
    topic_config,
    topic_partitions,
)
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.rights import refused_topics, topics_without_right
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES
from stream_scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

_ADMIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class CheckedTopics:
    """The three topics as they were found.

    Attributes:
        summaries: id and partition count by topic.
        max_bytes: ``max.message.bytes`` of the output and dead letter topics, where it can be read.
    """

    summaries: Mapping[str, TopicSummary]
    max_bytes: Mapping[str, int]


def check_topics(settings: ScorerSettings) -> CheckedTopics:
    """Check that the three topics exist and match each other.

    Raises:
        RetryableError: the broker or a topic is not available yet, or a topic has fewer partitions
            than the input.
        FatalError: this user is not authorized for one of the topics.
    """
    admin = open_admin(settings)
    names = (settings.input_topic, settings.output_topic, settings.dlq_topic)
    found = topic_partitions(admin, names, _ADMIN_SECONDS)
    missing = [name for name in names if name not in found]
    needs = {n: "READ" if n == settings.input_topic else "WRITE" for n in names if n in found}
    denied = refused_topics(admin, missing, _ADMIN_SECONDS)
    # A missing WRITE would show at the first record, as a transaction that cannot be ended.
    if denied := denied or topics_without_right(admin, needs, _ADMIN_SECONDS):
        raise FatalError(
            f"not authorized for topic {', '.join(denied)}: grant this user READ on "
            f"{settings.input_topic}, WRITE on {settings.output_topic} and "
            f"{settings.dlq_topic}"
        )
    if missing:
        raise RetryableError(
            f"no topic {', '.join(missing)} (create them with: stream-scorer topics create)"
        )
    summaries = describe_topics(admin, names, _ADMIN_SECONDS)
    if short := short_topics(names, {n: s.partitions for n, s in summaries.items()}):
        raise RetryableError(short)
    limits = {}
    for name in names[1:]:
        try:
            limits[name] = int(topic_config(admin, name)["max.message.bytes"])
        except (RetryableError, FatalError, KeyError, ValueError) as error:
            # A scorer does not need the permission to describe a topic's configuration.
            log.info("cannot read the size limit of %s: %s", name, error)
    if limits.get(settings.dlq_topic, INPUT_MAX_BYTES) < INPUT_MAX_BYTES:
        log.warning(
            "topic %s accepts at most %d bytes: larger dead letters will be truncated",
            settings.dlq_topic,
            limits[settings.dlq_topic],
        )
    return CheckedTopics(summaries, limits)


def short_topics(names: Sequence[str], counts: Mapping[str, int]) -> str | None:
    """Which of the other topics has fewer partitions than the first, the input; None if none has.

    Raises:
        RetryableError: a topic has just disappeared.
    """
    if missing := [name for name in names if name not in counts]:
        raise RetryableError(f"no topic {', '.join(missing)}")
    wanted = counts[names[0]]
    for name in names[1:]:
        if counts[name] < wanted:
            return (
                f"topic {name} has {counts[name]} partitions, but {names[0]} has "
                f"{wanted}: an outcome is written to the same partition number as its input "
                "(add the missing partitions with: stream-scorer topics create)"
            )
    return None
