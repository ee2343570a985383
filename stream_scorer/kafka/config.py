"""librdkafka's settings as this project uses them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.kafka.errors import ErrorCallback
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES, OUTPUT_MAX_BYTES
from stream_scorer.runtime.settings import KafkaSettings

_OURS: Final = frozenset(
    {
        "acks",
        "auto.offset.reset",  # latest: what was there before the first scorer is never scored
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",  # without it a reader never sees the end
        "group.id",
        "isolation.level",
        "partitioner",
        "transactional.id",
    }
)
"""What no properties file may change; the group has a variable of its own."""

_OF_MEMBERS: Final = (
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "session.timeout.ms",
)
"""What a properties file may set for the scorers' membership of their group, and for it alone."""


def client_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """Settings every client shares; ``KAFKA_CONFIG_FILE`` wins over our defaults.

    Raises:
        UsageError: the file cannot be read, or sets what exactly-once depends on.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,  # default 10 s: a restarted broker is found sooner
        "client.id": "stream-scorer",
        "error_cb": ErrorCallback(),
        "log_level": 4,
        "logger": logging.getLogger("librdkafka"),
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
        if kept := sorted(_OURS & properties.keys()):
            raise UsageError(
                f"{settings.kafka_config_file}: {', '.join(kept)} cannot be set there: "
                "that each transaction is scored exactly once depends on it"
            )
        config |= properties
    return config


def consumer_config(settings: KafkaSettings, group_id: str, **more: Any) -> dict[str, Any]:
    """A consumer that reads committed records only and never commits by itself."""
    return client_config(
        settings,
        **{
            "group.id": group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": INPUT_MAX_BYTES,
            # default 1000 ms gives stalls of about a second with small queues
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 50,
            **more,
        },
    )


def producer_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """An idempotent producer that partitions as the Java client does (murmur2)."""
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
    """:func:`consumer_config` of one that joins no group, unless ``more`` is about that.

    What ``KAFKA_CONFIG_FILE`` says about members is not for it: with the scorers' longest time
    between polls, say, and not their session timeout, the client refuses the two as they are.
    """
    of_others = set(_OF_MEMBERS) - more.keys()
    config = consumer_config(settings, group_id, **more)
    return {name: value for name, value in config.items() if name not in of_others}


def read_properties(path: Path) -> dict[str, str]:
    """``key=value`` lines of a properties file; ``#`` starts a comment line.

    Raises:
        UsageError: it cannot be read, or a line is neither, with its number.
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
