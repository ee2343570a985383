"""A record that is small on the wire and too large for the scorers' client."""

from __future__ import annotations

from typing import Final

from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.sizes import RECEIVE_MAX_BYTES
from stream_scorer.settings import GroupSettings

BOMB_BYTES: Final = RECEIVE_MAX_BYTES + 10_000_000


def produce_bomb(settings: GroupSettings, partition: int) -> None:
    """One record of a few kilobytes on the wire that unpacks to more than the client's limit."""
    producer = open_producer(
        settings, **{"message.max.bytes": BOMB_BYTES + 1_000_000, "compression.type": "zstd"}
    )
    errors: list[str] = []
    producer.produce(
        settings.input_topic, b"{" + b" " * BOMB_BYTES + b"}", b"bomb", partition,
        on_delivery=lambda error, _: errors.append(str(error)) if error else None,
    )  # fmt: skip
    assert producer.flush(60) == 0
    assert not errors
