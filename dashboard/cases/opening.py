"""Opens the desk on the configured cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dashboard.cases.desk import Desk
from dashboard.cases.kafka_log import KafkaLog
from dashboard.cases.log import CONTRACTS, Channel
from dashboard.settings import DashboardSettings
from stream_scorer.runtime.registry import RegistryResolver, using_resolver


@contextmanager
def opened_desk(settings: DashboardSettings) -> Iterator[Desk]:
    """A desk on Kafka. The app starts and stops it.

    Raises:
        UsageError: the outbox cannot be used.
    """
    with (
        using_resolver(settings, CONTRACTS[Channel.LABELS]) as labels,
        using_resolver(settings, CONTRACTS[Channel.AUDIT]) as audit,
    ):
        registry = labels if isinstance(labels, RegistryResolver) else None
        yield Desk(
            KafkaLog(settings, registry),
            settings.dashboard_state_dir,
            settings.dashboard_state_dir / "flags.sqlite3",
            {Channel.LABELS: labels, Channel.AUDIT: audit},
            settings.input_topic,
        )
