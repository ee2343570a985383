"""The broker as the loop sees it, implemented by Kafka and by an in-memory fake."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.framing import Header, Headers
from stream_scorer.model.bundle import Bundle
from stream_scorer.stream.offset_check import Committed

Marks: TypeAlias = Mapping[int, Mapping[str, str]]
"""Partition → fields to store beside its committed offset (:mod:`stream_scorer.kafka.mark`)."""

NO_MARKS: Final[Marks] = MappingProxyType({})


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
        first = np.flatnonzero(self._edges()[:-1])[::-1]  # the first run of a partition comes last
        found = zip(self.partitions[first].tolist(), self.offsets[first].tolist(), strict=True)
        return dict(sorted(dict(found).items()))

    def next_offsets(self) -> dict[int, int]:
        """Partition → the next offset to read, which is the offset to commit."""
        last = np.flatnonzero(self._edges()[1:])
        found = zip(self.partitions[last].tolist(), (self.offsets[last] + 1).tolist(), strict=True)
        return dict(sorted(dict(found).items()))

    def _edges(self) -> NDArray[np.bool_]:
        """Where another partition begins, and the end: the client delivers long runs of one."""
        edges = np.ones(len(self.partitions) + 1, np.bool_)
        np.not_equal(self.partitions[1:], self.partitions[:-1], out=edges[1:-1])
        return edges


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

    def commit(self, polled: Polled, marks: Marks = NO_MARKS) -> None:
        """Commit the published records together with the offsets after ``polled``.

        Args:
            polled: the batch that the records are the outcomes of.
            marks: stored beside the offsets, in addition to what the broker stores there itself.

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
    """A member of a consumer group that also publishes.

    A partition can be held: it delivers no records until it is released at an offset. Nothing that
    was received of it before is delivered either, and a rewind does not release it.
    """

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

    def assignments(self) -> Mapping[int, int]:
        """How often each partition that is assigned now has been assigned to this member.

        The count grows also when a partition left and returned within one poll: another member may
        have committed offsets of it in between.
        """
        ...

    def hold_new(self, is_on: bool) -> None:
        """Whether partitions are held from their assignment on, which is off at first.

        Partitions held already stay held when it is turned off.
        """
        ...

    def hold(self, partitions: Collection[int]) -> None:
        """Hold these partitions; those that are not assigned are ignored."""
        ...

    def release(self, partition: int, offset: int) -> None:
        """Deliver a held partition from ``offset`` on; ignored if it is not held now.

        If the log has no such offset, the rules for starting a partition apply: removed records
        are counted as lost, and an offset past the end raises FatalError from a later poll.

        Raises:
            FatalError: the process must be replaced; the partition is still held.
        """
        ...

    def held(self) -> frozenset[int]:
        """The assigned partitions that are held."""
        ...

    def committed(self, partitions: Collection[int]) -> Mapping[int, Committed]:
        """The group's committed offset of each partition, and the text of its mark.

        They are final for a partition that is held and of which no batch of this member waits for
        its commit. Any thread may call this. It can take seconds.

        Raises:
            RetryableError: the offsets cannot be read now, for example because another member's
                transaction is open that has sent offsets (KIP-447).
            FatalError: an offset belongs to a topic of the same name that was deleted.
        """
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


class HistoryStep(Protocol):
    """What one batch did to the histories of its partitions. It stays open until it is ended."""

    @property
    def columns(self) -> HistoryColumns:
        """The features of the past of the batch's rows, from the state before each row."""
        ...

    @property
    def marks(self) -> Marks:
        """What names the state after this step; to be read before the next step begins."""
        ...


class Histories(Protocol):
    """The histories of the assigned partitions, as the loop sees them. The loop's thread owns it.

    At most two steps are open: of the batch that is being committed, and of the one that was scored
    ahead. Each is ended by :meth:`committed`, the oldest first, or by :meth:`rollback`, the
    youngest first.
    """

    def serve(self, uncommitted: Polled | None) -> None:
        """Update states and held partitions; called before each poll.

        The states of partitions that have left are dropped here, also of those that have returned,
        and restored ones are attached.

        Args:
            uncommitted: the batch that is scored and not committed, if there is one; its step is
                open if it has one. No poll was made since: its partitions are still assigned.

        Raises:
            RetryableError: not possible now; nothing is polled, and it is called again.
            FatalError: the process must be replaced.
        """
        ...

    def model(self) -> Bundle | None:
        """The bundle that this process can score with now; None until a first one is loaded."""
        ...

    def has_history(self, bundle: Bundle) -> bool:
        """Whether the bundle's features read the past."""
        ...

    def step(
        self,
        bundle: Bundle,
        polled: Polled,
        batch: TransactionBatch,
        kept: NDArray[np.int64],
        advances: NDArray[np.bool_],
    ) -> HistoryStep | None:
        """Compute the features of a batch's past, and advance the states of its partitions.

        Args:
            bundle: what the batch will be scored with.
            polled: the records of one poll.
            batch: those of them that could be decoded.
            kept: int64 ``[len(batch)]``, the rows of ``polled`` that they are, ascending.
            advances: bool ``[len(batch)]``; other rows get features and do not change the state.

        Returns:
            None for a bundle without history.

        Raises:
            RetryableError: no state has changed; the batch must be read again.
        """
        ...

    def rollback(self, step: HistoryStep) -> None:
        """Restore the states as they were before the youngest open step."""
        ...

    def committed(self, step: HistoryStep) -> None:
        """The batch of the oldest open step was committed, together with its marks."""
        ...


class NoHistories:
    """For a process whose bundles have no history.

    Args:
        model: the current bundle.
    """

    def __init__(self, model: Callable[[], Bundle | None] = lambda: None) -> None:
        self.model = model

    def serve(self, uncommitted: Polled | None) -> None:
        """There is nothing to update."""

    def has_history(self, bundle: Bundle) -> bool:
        """No bundle has."""
        del bundle
        return False

    def step(self, *_: object) -> None:
        """There is no state."""

    def rollback(self, step: HistoryStep) -> None:
        """There is no state."""

    def committed(self, step: HistoryStep) -> None:
        """There is no state."""
