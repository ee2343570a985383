"""The port to the two topics of the desk: labels and audit events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from schemas.framing import Headers


class Channel(StrEnum):
    """A topic of the desk, by its role."""

    LABELS = "labels"
    AUDIT = "audit"


CREATE_TOPICS: Final = "does not exist: run stream-scorer topics create"

CONTRACTS: Final = {Channel.LABELS: "fraud_label", Channel.AUDIT: "audit_event"}
"""The Avro contract of each topic."""


class Place(NamedTuple):
    """Where a record is on its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to write: ``record`` is encoded by the contract of the channel."""

    channel: Channel
    key: bytes
    record: Mapping[str, Any]
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record that was read. ``fault`` says why it cannot be used at all."""

    channel: Channel
    place: Place
    time: int
    value: bytes | None
    headers: Headers = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Records in the order of each partition, and the next offset where a partition's end is."""

    records: Sequence[LogRecord] = ()
    ends: Mapping[tuple[Channel, int], int] = field(default_factory=dict)


Positions = Mapping[tuple[Channel, int], int]
"""Channel and partition → offset."""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The cluster id, and first and next offset of each partition of the topics.

    ``problems`` has the topics that cannot be used, each with the reason and what to do about it.
    ``topic_ids`` has those of the others, as far as the brokers have ids: a topic that is deleted
    and created again has another one.
    """

    cluster: str
    bounds: Mapping[tuple[Channel, int], tuple[int, int]]
    problems: Mapping[Channel, str] = field(default_factory=dict)
    topic_ids: Mapping[Channel, str] = field(default_factory=dict)


class LogReader(Protocol):
    """Reads both topics. Used by one thread.

    Every call raises RetryableError, or FatalError if only an operator can fix the cause.
    """

    def fetch_bounds(self) -> LogBounds:
        """The bounds of the topics that exist and that this user may read."""
        ...

    def assign(self, positions: Positions) -> None:
        """Read these partitions from these offsets."""
        ...

    def poll(self, seconds: float) -> LogBatch:
        """What has arrived. Waits up to ``seconds`` for the first record."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class DeskLog(Protocol):
    """The two topics. Safe to use from several threads."""

    @property
    def problem(self) -> str | None:
        """Why the last write failed. None if it did not."""
        ...

    def name_of(self, channel: Channel) -> str:
        """The name of a topic, for messages."""
        ...

    def append(self, records: Sequence[NewRecord], seconds: float) -> list[Place | None]:
        """Write records; return their places once all replicas in sync have them.

        None means that the broker did not confirm a record within ``seconds``. It may have been
        written nevertheless.
        """
        ...

    def open_reader(self) -> LogReader:
        """A new reader."""
        ...

    def close(self) -> None:
        """Close the writer."""
        ...
