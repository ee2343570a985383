"""Which topics exist, and a clear error where one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import AdminClient
from stream_scorer.runtime.settings import KafkaSettings

METADATA_SECONDS: Final = 10.0
"""How long a command waits for a broker that may not be there before it says so."""


def existing_topics(
    settings: KafkaSettings, topics: Sequence[str], admin: AdminClient | None = None
) -> dict[str, int]:
    """Partition counts of those of ``topics`` that exist.

    Raises:
        UsageError: no broker answers, with what to do.
        FatalError: the broker refuses us.
    """
    admin = admin or open_admin(settings)
    try:
        return topic_partitions(admin, topics, METADATA_SECONDS)
    except RetryableError as error:
        raise UsageError(
            f"no Kafka broker answers at {settings.kafka_bootstrap_servers} within "
            f"{METADATA_SECONDS:.0f} s ({error}); set KAFKA_BOOTSTRAP_SERVERS, or start one here "
            "with: stream-scorer broker"
        ) from error


def require_topics(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts of ``topics``, all of which must exist.

    Raises:
        UsageError: no broker answers or a topic is missing, with what to do.
    """
    found = existing_topics(settings, topics)
    if missing := [topic for topic in topics if topic not in found]:
        raise UsageError(
            f"no such topic at {settings.kafka_bootstrap_servers}: {', '.join(missing)}; "
            "make the topics with: stream-scorer topics create"
        )
    return found
