"""The three kinds of Kafka for tests: embedded, already running, or a container."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.node import NODE_PROPERTIES
from stream_scorer.local.probe import pick_free_port, plain_settings, wait_until_ready
from stream_scorer.runtime.settings import KafkaSettings, load_settings

IMAGE = "apache/kafka:4.1.1"
KINDS = ("embedded", "env", "testcontainers")


@dataclass(frozen=True, slots=True)
class KafkaUnderTest:
    """A running Kafka."""

    settings: KafkaSettings

    @property
    def bootstrap_servers(self) -> str:
        return self.settings.kafka_bootstrap_servers


@contextmanager
def open_kafka(kind: str) -> Iterator[KafkaUnderTest]:
    """A running Kafka of this kind; stopped afterwards if it was started here."""
    if kind == "embedded":
        with EmbeddedBroker() as broker:
            yield KafkaUnderTest(broker.settings)
    elif kind == "env":
        settings = load_settings(KafkaSettings)
        assert wait_until_ready(settings, 30), f"no Kafka at {settings.kafka_bootstrap_servers}"
        yield KafkaUnderTest(settings)
    else:
        with _container() as servers:
            settings = plain_settings(servers)
            assert wait_until_ready(settings, 120), f"{IMAGE} did not become ready"
            yield KafkaUnderTest(settings)


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    port = pick_free_port()
    properties = {
        **NODE_PROPERTIES,
        "listeners": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": "1@127.0.0.1:9093",
    }
    container = DockerContainer(IMAGE).with_bind_ports(9092, port)
    for name, value in properties.items():
        # the image turns KAFKA_A_B into a.b
        container = container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        yield f"127.0.0.1:{port}"
