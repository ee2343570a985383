"""The settings of a group member's clients."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.kafka.config import consumer_config, producer_config
from stream_scorer.kafka.driver import KafkaError, Message
from stream_scorer.kafka.mark import TOPIC_ID, format_mark
from stream_scorer.runtime.settings import KafkaSettings

MAX_BATCH_BYTES: Final = 1_000_000  # librdkafka's default, below the broker's own limit

METADATA_SECONDS: Final = 10
"""How soon clients notice added partitions; the driver's default is five minutes."""

_METADATA: Final = {
    "topic.metadata.refresh.interval.ms": METADATA_SECONDS * 1000,
    "metadata.max.age.ms": METADATA_SECONDS * 3000,  # of what the refresh does not renew
}


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How a member joins its group, and how long its transactions may take.

    After a member is killed, its partitions wait for up to session timeout + transaction timeout.
    """

    group_id: str
    topic: str
    protocol: str = "classic"
    session_timeout_ms: int = 15_000
    max_poll_interval_ms: int = 60_000
    txn_timeout_ms: int = 15_000
    producers: int = 2
    """Transactions alternate between this many producers. If a producer begins again while
    the broker still writes the markers of its last commit, the broker answers
    CONCURRENT_TRANSACTIONS and librdkafka waits 20 ms. With two, one is idle while the other works.
    """
    max_batch_bytes: int = MAX_BATCH_BYTES
    """The largest produce batch: a topic's ``max.message.bytes`` limits whole batches."""
    topic_id: str | None = None
    """The id of the input topic when the process started; None: not known, and not compared."""

    def mark(self, fields: Mapping[str, str]) -> str:
        """The text to store beside a committed offset, with these further fields."""
        return format_mark({TOPIC_ID: self.topic_id or "", **fields})


def member_config(settings: KafkaSettings, options: GroupOptions) -> dict[str, Any]:
    """The configuration of the consumer, a member of the scorers' group."""
    config = consumer_config(
        settings,
        options.group_id,
        **{
            "max.poll.interval.ms": options.max_poll_interval_ms,
            # Reported to us instead of decided by the driver: see stream/offset_check.py.
            "auto.offset.reset": "error",
            **_METADATA,
            # About ten batches ahead: enough to keep the loop busy, with bounded memory.
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 65_536,
            "fetch.wait.max.ms": 20,
        },
    )
    if options.protocol == "consumer":  # KIP-848: the broker sets the timeouts
        return config | {"group.protocol": "consumer"}
    return config | {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": options.session_timeout_ms,
        # A cooperative rebalance has a second round, which a member learns of from its heartbeat.
        # The partitions that move wait until then.
        "heartbeat.interval.ms": max(options.session_timeout_ms // 15, 200),
    }


def txn_producer_config(
    settings: KafkaSettings,
    options: GroupOptions,
    on_delivery: Callable[[KafkaError | None, Message], None],
) -> dict[str, Any]:
    """The configuration of a transactional producer.

    A smaller ``batch.size`` in ``KAFKA_CONFIG_FILE`` holds; a larger one would exceed a topic's
    limit.
    """
    config = producer_config(
        settings,
        **{
            # Unique for each live process, with a prefix that an ACL can match.
            "transactional.id": f"{options.group_id}-{uuid.uuid4()}",
            "transaction.timeout.ms": options.txn_timeout_ms,
            "linger.ms": 1,  # a flush follows at once, so a longer linger only adds latency
            "batch.num.messages": 10_000,
            "batch.size": options.max_batch_bytes,
            "queue.buffering.max.messages": 1_000_000,
            **_METADATA,
            "on_delivery": on_delivery,
            "delivery.report.only.error": True,
        },
    )
    if str(given := config["batch.size"]).isdecimal():
        config["batch.size"] = min(int(given), options.max_batch_bytes)
    return config
