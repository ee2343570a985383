"""The librdkafka settings of this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.kafka.driver_log import driver_logger
from stream_scorer.kafka.errors import ErrorCallback
from stream_scorer.kafka.sizes import (
    FETCH_MAX_BYTES,
    OUTPUT_MAX_BYTES,
    PARTITION_FETCH_BYTES,
    RECEIVE_MAX_BYTES,
)
from stream_scorer.runtime.settings import KafkaSettings

_FIXED: Final = frozenset(
    {
        "acks",
        "auto.offset.reset",  # latest would skip records from before the first scorer
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",  # without it a reader never sees the end
        "group.id",
        "isolation.level",
        "partition.assignment.strategy",  # partitions are started one by one: not with an eager one
        "partitioner",
        "transactional.id",
    }
)
"""Settings that a properties file must not change; ``group.id`` has its own variable."""

_LEAST: Final = {
    "message.max.bytes": (OUTPUT_MAX_BYTES, "every score and dead letter must fit into a record"),
    "queue.buffering.max.kbytes": (
        OUTPUT_MAX_BYTES // 1024,
        "the largest dead letter must fit into the producer's queue",
    ),
    "receive.message.max.bytes": (
        RECEIVE_MAX_BYTES,
        "a scorer must be able to unpack every batch of the input topic",
    ),
}
"""Sizes that a properties file may raise but not lower, each with the least value and its reason.

Below them a record that the topics accept would stop the scorers again after each restart.
"""

_MEMBERSHIP: Final = (
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "session.timeout.ms",
)
"""Settings that a properties file may change, but only for the scorers' group membership."""


def client_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """Settings that all clients share; ``KAFKA_CONFIG_FILE`` overrides our defaults.

    Raises:
        UsageError: the file cannot be read, changes a setting that exactly-once depends on, or has
            a size limit that is too small.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,  # default 10 s: slow to find a restarted broker
        "client.id": "stream-scorer",
        "error_cb": ErrorCallback(),
        "log_level": 4,
        "logger": driver_logger(),
    }
    if settings.kafka_sasl_mechanism:
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
    if settings.kafka_sasl_username:
        config["sasl.username"] = settings.kafka_sasl_username
    if settings.kafka_sasl_password:
        config["sasl.password"] = settings.kafka_sasl_password.get_secret_value()
    if settings.kafka_ssl_ca_location:
        config["ssl.ca.location"] = str(settings.kafka_ssl_ca_location)
    config |= more
    if settings.kafka_config_file:
        properties = read_properties(settings.kafka_config_file)
        if fixed := sorted(_FIXED & properties.keys()):
            raise UsageError(
                f"{settings.kafka_config_file}: {', '.join(fixed)} cannot be set there, because "
                "exactly-once scoring depends on it"
            )
        _check_sizes(settings.kafka_config_file, properties)
        config |= properties
    return config


def _check_sizes(path: Path, properties: Mapping[str, str]) -> None:
    faults = [
        f"{name}={properties[name]} is too small: {reason}, which takes at least {least}"
        for name, (least, reason) in _LEAST.items()
        # what is no number is rejected by the client itself
        if properties.get(name, "").isdecimal() and int(properties[name]) < least
    ]
    if faults:
        raise UsageError(f"{path}: {'; '.join(faults)} (without a line here, it is at least that)")


def consumer_config(settings: KafkaSettings, group_id: str, **more: Any) -> dict[str, Any]:
    """A consumer that reads only committed records and never commits automatically."""
    return client_config(
        settings,
        **{
            "group.id": group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": PARTITION_FETCH_BYTES,
            "fetch.max.bytes": FETCH_MAX_BYTES,
            "receive.message.max.bytes": RECEIVE_MAX_BYTES,
            # the default of 1000 ms causes stalls of about a second with small queues
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 50,
            **more,
        },
    )


def producer_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """An idempotent producer with the partitioner of the Java client (murmur2)."""
    return client_config(
        settings,
        **{
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": OUTPUT_MAX_BYTES,
            **more,
        },
    )


def reader_config(settings: KafkaSettings, group_id: str, **more: Any) -> dict[str, Any]:
    """:func:`consumer_config` for a consumer that joins no group, unless ``more`` says otherwise.

    Membership settings in ``KAFKA_CONFIG_FILE`` are left out. A reader has the default session
    timeout, and librdkafka rejects it together with, say, a shorter ``max.poll.interval.ms``.
    """
    left_out = set(_MEMBERSHIP) - more.keys()
    config = consumer_config(settings, group_id, **more)
    return {name: value for name, value in config.items() if name not in left_out}


def read_properties(path: Path) -> dict[str, str]:
    """``key=value`` lines of a properties file; ``#`` starts a comment line.

    Raises:
        UsageError: the file cannot be read, or a line is invalid; the message has its number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"KAFKA_CONFIG_FILE={path}: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"{path}:{number}: expected key=value")
        found[key.strip()] = value.strip()
    return found
