"""How far back Kafka keeps the progress of a redrive.

Kafka deletes committed offsets ``offsets.retention.minutes`` after the commit, and with them the
progress of a redrive. If no progress is stored, none was committed within that time, so dead
letters written since then have not been redriven. Older ones may have been redriven before the
progress was deleted.
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
"""Kafka's default since 2.0; used if the brokers do not report theirs."""

MOST_SKEW_MS: Final = 24 * 3_600_000
"""Clock differences between scorers, brokers and this machine that are tolerated."""


def known_since(now_ms: int, retention_ms: int) -> int:
    """If no progress is stored, dead letters written from this time on were never redriven.

    Their timestamps come from the scorers' clocks and ``now_ms`` from ours, so there is a margin
    for wrong clocks: a day, or half the retention time if that is shorter than two days.
    """
    return max(0, now_ms - retention_ms + min(MOST_SKEW_MS, retention_ms // 2))


def fetch_retention_ms(settings: KafkaSettings) -> int:
    """The shortest time for which any broker keeps the offsets of a group without members.

    If this user is not authorized to read it, Kafka's default is used and a warning is logged.
    """
    try:
        return retention_of(broker_configs(open_admin(settings)))
    except (FatalError, RetryableError) as error:
        log.warning(
            "cannot read %s from the brokers (it requires DESCRIBE_CONFIGS on the cluster); using "
            "Kafka's default of 7 days: %s",
            RETENTION,
            error,
        )
        return DEFAULT_RETENTION_MS


def retention_of(brokers: Iterable[Mapping[str, str]]) -> int:
    """The shortest retention in the brokers' configurations, in milliseconds."""
    found = [int(config[RETENTION]) * 60_000 for config in brokers if RETENTION in config]
    return min(found, default=DEFAULT_RETENTION_MS)
