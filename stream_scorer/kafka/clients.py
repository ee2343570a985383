"""Opens consumers, producers and admin clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from stream_scorer.errors import UsageError
from stream_scorer.kafka.config import client_config, producer_config, reader_config
from stream_scorer.kafka.errors import ErrorCallback
from stream_scorer.runtime.settings import KafkaSettings

_Client = TypeVar("_Client")


def open_consumer(settings: KafkaSettings, group_id: str, **more: Any) -> Consumer:
    """A consumer with :func:`reader_config`."""
    return build_client(Consumer, reader_config(settings, group_id, **more))


def open_producer(settings: KafkaSettings, **more: Any) -> Producer:
    """A producer with :func:`producer_config`."""
    return build_client(Producer, producer_config(settings, **more))


class Admin(AdminClient):
    """An admin client that keeps its last error."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.error_callback = ErrorCallback()
        config["error_cb"] = self.error_callback
        super().__init__(config)


def open_admin(settings: KafkaSettings) -> Admin:
    """An admin client; keep a reference to it while waiting for its futures."""
    return build_client(Admin, client_config(settings))


def build_client(client: Callable[[dict[str, Any]], _Client], config: dict[str, Any]) -> _Client:
    """Create a client of the driver.

    Raises:
        UsageError: the driver rejects a setting.
    """
    try:
        return client(config)
    except KafkaException as error:  # at this point it can only be a setting
        raise UsageError(f"kafka settings: {error.args[0].str()}") from error
