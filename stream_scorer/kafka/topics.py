"""Checks which topics exist, with a clear error if one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import AdminClient
from stream_scorer.runtime.settings import KafkaSettings

METADATA_SECONDS: Final = 10.0
"""How long a command waits for a broker before it reports that none answers."""


def existing_topics(
    settings: KafkaSettings, topics: Sequence[str], admin: AdminClient | None = None
) -> dict[str, int]:
    """Partition counts of those of ``topics`` that exist.

    Raises:
        UsageError: no broker answers; the message says what to do.
        FatalError: login failed, or this user is not authorized.
    """
    admin = admin or open_admin(settings)
    try:
        return topic_partitions(admin, topics, METADATA_SECONDS)
    except RetryableError as error:
        raise UsageError(
            f"no Kafka broker answered at {settings.kafka_bootstrap_servers} within "
            f"{METADATA_SECONDS:.0f} s ({error}); set KAFKA_BOOTSTRAP_SERVERS, or start a local "
            "broker with: stream-scorer broker"
        ) from error


def require_topics(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts of ``topics``, all of which must exist.

    Raises:
        UsageError: no broker answers or a topic is missing; the message says what to do.
    """
    found = existing_topics(settings, topics)
    if missing := [topic for topic in topics if topic not in found]:
        raise UsageError(
            f"topic not found at {settings.kafka_bootstrap_servers}: {', '.join(missing)}; "
            "create the topics with: stream-scorer topics create"
        )
    return found
