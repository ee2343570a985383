"""The bounds of many partitions in two requests, on a connection of their own.

A consumer would need a request for each partition, and a broker answers the requests of one
connection in turn: each would wait for the fetch before it, which the broker holds back for as long
as there is nothing new.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from confluent_kafka import IsolationLevel, TopicPartition

# The names are documented, though the module does not list them as its exports.
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from stream_scorer.kafka.admin import wait_for
from stream_scorer.kafka.retry import retry_transient

_NEW_LEADER_SECONDS: Final = 1.0
"""An election takes less; a request that fails later is not retried."""


def committed_bounds(
    admin: AdminClient, places: Collection[tuple[str, int]], seconds: float
) -> dict[tuple[str, int], tuple[int, int]]:
    """By topic and partition, the first offset and the end for a read_committed reader.

    A partition that was just created, or whose leader has moved, refuses the request for a moment.

    Raises:
        KafkaException: a broker did not answer within ``seconds``, or refuses the request.
    """

    def request() -> dict[tuple[str, int], tuple[int, int]]:
        specs = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        answers = [
            admin.list_offsets(
                {TopicPartition(*place): spec for place in places},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=seconds,
            )
            for spec in specs
        ]
        low, high = (
            {(p.topic, p.partition): int(wait_for(f, seconds).offset) for p, f in answer.items()}
            for answer in answers
        )
        return {place: (low[place], high[place]) for place in places}

    if not places:
        return {}
    return retry_transient(request, min(seconds, _NEW_LEADER_SECONDS))
