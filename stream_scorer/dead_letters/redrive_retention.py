"""How far back Kafka would know that a dead letter was redriven.

Kafka forgets a committed offset ``offsets.retention.minutes`` after it was committed, and so a
redrive's progress. Where none is stored, none was committed within that time: what was written
since has not been redriven. What is older may have been, before the progress was forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import broker_configs
from stream_scorer.kafka.clients import open_admin
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

RETENTION: Final = "offsets.retention.minutes"

DEFAULT_RETENTION_MS: Final = 7 * 24 * 3_600_000
"""Kafka's since 2.0; taken where the brokers do not tell theirs."""

MOST_SKEW_MS: Final = 24 * 3_600_000
"""So far the clocks of scorers, brokers and this machine may be apart without any harm."""


def known_since(now_ms: int, retention_ms: int) -> int:
    """Where no progress is stored, dead letters written from this time on were never redriven.

    Their times are the scorers' word, and ``now`` is ours: a margin is kept for clocks that are
    wrong, a day, or half of a retention that is shorter than two.
    """
    return max(0, now_ms - retention_ms + min(MOST_SKEW_MS, retention_ms // 2))


def fetch_retention_ms(settings: KafkaSettings) -> int:
    """The shortest time for which any broker keeps the offsets of a group without members.

    Kafka's default, with a warning, where this user may not know.
    """
    try:
        return retention_of(broker_configs(open_admin(settings)))
    except (FatalError, RetryableError) as error:
        log.warning(
            "the brokers do not tell their %s (it needs DESCRIBE_CONFIGS on the cluster), so "
            "Kafka's default of 7 days is taken: %s",
            RETENTION,
            error,
        )
        return DEFAULT_RETENTION_MS


def retention_of(brokers: Iterable[Mapping[str, str]]) -> int:
    """The shortest one in the brokers' configurations, in milliseconds."""
    told = [int(config[RETENTION]) * 60_000 for config in brokers if RETENTION in config]
    return min(told, default=DEFAULT_RETENTION_MS)
