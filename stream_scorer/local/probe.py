"""Checks whether a Kafka is ready: it is once a produced record was acknowledged."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import cast

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.config import client_config
from stream_scorer.kafka.driver import AdminClient, KafkaError, KafkaException, Producer
from stream_scorer.runtime.settings import KafkaSettings

PROBE_TOPIC = "_probe"
"""Stays on the broker; lists of topics for people omit it."""

# Outgoing connections could take a port in the system's ephemeral range while the broker restarts
# (even a client's attempt to reach the broker), so our ports are below every system's range.
_PORTS = range(20_000, 30_000)
_NEXT_PORTS = 100


def plain_settings(bootstrap_servers: str) -> KafkaSettings:
    """Settings for an unsecured broker, independent of the environment."""
    return KafkaSettings(
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_security_protocol="PLAINTEXT",
        kafka_sasl_mechanism=None,
        kafka_sasl_username=None,
        kafka_sasl_password=None,
        kafka_ssl_ca_location=None,
        kafka_config_file=None,
    )


def is_port_free(port: int) -> bool:
    """Whether a server can listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java's server sockets
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def pick_free_port() -> int:
    """A port that is free now. Another process may take it, so the caller must be able to retry."""
    generator = random.SystemRandom()  # tests that seed `random` must not pick the same ports
    while True:
        port = generator.choice(_PORTS)
        if is_port_free(port):
            return port


def next_free_port(port: int) -> int:
    """``port`` if it is free, else the next one that is."""
    nearest = range(port, min(port + _NEXT_PORTS, 65_536))
    return next(filter(is_port_free, nearest), None) or pick_free_port()


def wait_until_ready(
    settings: KafkaSettings,
    timeout: float,
    *,
    cluster_id: str | None = None,
    is_alive: Callable[[], bool] = lambda: True,
) -> bool:
    """Wait for TCP, metadata, a created topic and an acknowledged record, in this order.

    Args:
        settings: how to reach the broker.
        timeout: seconds for all steps together.
        cluster_id: the cluster that must answer; another one may use the same port.
        is_alive: the wait ends early once this returns False.

    Returns:
        True if ready; False after the timeout, if the broker is not alive, or if another cluster
        answered.
    """
    deadline = time.monotonic() + timeout
    host, _, port = settings.kafka_bootstrap_servers.split(",")[0].rpartition(":")
    while not _accepts(host, int(port)):
        if time.monotonic() > deadline or not is_alive():
            return False
        time.sleep(0.02)
    quick = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "log_level": 0}
    config = client_config(settings, **quick, error_cb=_ignore)
    admin = AdminClient(config)
    producer = Producer(config | {"acks": "all", "message.timeout.ms": 10_000})
    while time.monotonic() < deadline and is_alive():
        try:
            metadata = admin.list_topics(timeout=1)
            # the driver's stubs declare it as None
            answered = cast("str | None", metadata.cluster_id)
            if cluster_id and answered and answered != cluster_id:
                return False
            if metadata.brokers and _acknowledges(admin, producer, deadline, is_alive):
                return is_alive()
        except (KafkaException, RetryableError, FatalError):
            time.sleep(0.05)
    return False


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _acknowledges(
    admin: AdminClient, producer: Producer, deadline: float, is_alive: Callable[[], bool]
) -> bool:
    outcome: list[KafkaError | None] = []
    create_topics(admin, {PROBE_TOPIC: {}}, 1, 1, timeout=2)
    producer.produce(PROBE_TOPIC, b"", on_delivery=lambda error, _: outcome.append(error))
    while not outcome and time.monotonic() < deadline and is_alive():
        producer.poll(0.02)
    return outcome == [None]


def _ignore(_error: KafkaError) -> None:
    """Ignore failed connections: they are expected while a broker starts."""
