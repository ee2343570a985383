"""Accessors for the driver's messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import cast

from stream_scorer.kafka.driver import Message


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """A record's headers in order, including repeated names."""
    # The client's stubs also allow a dict, but only producers accept one.
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def by_partition(records: Iterable[Message]) -> Iterator[tuple[int, list[Message]]]:
    """The records of each partition, in offset order."""
    ordered = sorted(records, key=_partition)
    for partition, group in groupby(ordered, _partition):
        yield partition, list(group)


def _partition(message: Message) -> int:
    return message.partition() or 0
