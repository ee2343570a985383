"""The broker as the loop sees it, implemented by Kafka and by an in-memory fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.framing import Header, Headers


@dataclass(frozen=True, slots=True)
class Polled:
    """The records of one poll, column by column; those of each partition are in offset order.

    ``fence`` is the group's metadata at the time of this poll. The broker refuses offsets committed
    with it once a rebalance may have given the partitions to another member (KIP-447). Metadata
    fetched later would be accepted for records of partitions that are no longer ours.

    ``faults`` has the rows of records that could not be looked at, each with the reason: their
    headers, key or value are None here.
    """

    topic: str
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    headers: Sequence[Headers]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    fence: Any
    faults: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def first_offsets(self) -> dict[int, int]:
        """Partition → the first offset in the batch."""
        partitions, first = np.unique(self.partitions, return_index=True)
        return {int(p): int(self.offsets[i]) for p, i in zip(partitions, first, strict=True)}

    def next_offsets(self) -> dict[int, int]:
        """Partition → the next offset to read, which is the offset to commit."""
        backwards = self.partitions[::-1]
        partitions, last = np.unique(backwards, return_index=True)
        n = len(self.partitions)
        return {
            int(p): int(self.offsets[n - 1 - i]) + 1 for p, i in zip(partitions, last, strict=True)
        }


class Outgoing(NamedTuple):
    """A record to publish."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class Txn(Protocol):
    """A Kafka transaction. It ends with ``commit`` or ``abort`` and is never held across a poll."""

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Send records; on return all of them are acknowledged.

        Raises:
            RetryableError, FatalError: not all could be sent.
        """
        ...

    def commit(self, polled: Polled) -> None:
        """Commit the published records together with the offsets after ``polled``.

        Raises:
            RetryableError: nothing was committed; abort.
            FatalError: the process must be replaced; the broker knows what was committed.
        """
        ...

    def abort(self, *polled: Polled) -> None:
        """Discard the published records; these batches are read again from the committed offsets.

        If that is not possible now, the next poll does it before it returns records.

        Raises:
            FatalError: this process cannot abort the transaction.
        """
        ...


class Broker(Protocol):
    """A member of a consumer group that also publishes."""

    def poll(self, max_records: int, timeout: float) -> Polled | None:
        """The next records of the assigned partitions; None when there are none.

        Waits up to ``timeout`` seconds for a first record, then returns what has arrived.
        """
        ...

    def rewind(self, *batches: Polled) -> None:
        """Read these batches again from the committed offsets, for which no transaction is open.

        If that is not possible now, the next poll does it before it returns records.
        """
        ...

    def begin(self) -> Txn:
        """Begin a transaction."""
        ...

    def assigned(self) -> frozenset[int]:
        """The input partitions this member owns now."""
        ...

    def lag(self) -> Mapping[int, int]:
        """Records not yet read, by assigned partition, as far as known without a request."""
        ...

    def lost(self) -> Mapping[int, int]:
        """Records that were removed before they were read, by partition, since the start."""
        ...

    def close(self) -> None:
        """Leave the group and release all resources."""
        ...
