"""The inputs that card histories are made of: committed, decoded, in the order of offsets.

A history is a function of the inputs that were accepted. Which ones those are is decided once, when
an input is scored: an input with a dead letter of a stage before scoring is none of them, whatever
today's decoder makes of it, and every other input has to be decoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.framing import Headers
from schemas.layout import Layout
from schemas.rejections import Stage
from schemas.transactions.codec import Decoded, TransactionDecoder
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.dead_letters.repeats import NOT_ACCEPTED, find_first_copies
from stream_scorer.errors import ScorerError
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.spans import Spans
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.settings import GroupSettings

STALL_SECONDS: Final = 60.0
"""Longer than the open txn of a killed scorer can block readers (15 s and the broker's sweep)."""

_STAGES: Final = frozenset(Stage)
_MAX_DIGITS: Final = 18  # an offset is a signed 64-bit number

Refused = Mapping[int, NDArray[np.int64]]
"""By partition the offsets of inputs that were never accepted, sorted."""

Choose = Callable[[int, NDArray[np.int64]], NDArray[np.bool_]]
"""Partition and offsets of inputs → which of them to decode."""


class InputMissing(ScorerError):
    """An input that a history needs is gone or cannot be read; the message has its coordinates."""


@dataclass(frozen=True, slots=True)
class InputRows:
    """Inputs of one partition, in offset order; there is at least one.

    Attributes:
        partition: the input partition.
        offsets: int64 ``[n]``.
        batch: the transactions, ``n`` rows.
        advances: bool ``[n]``; False for a redriven input that was accepted the first time: it gets
            features, and leaves the history as it is.
        next_offset: every input of the partition before this offset has been read, including those
            that are in no rows.
        begin: every accepted input from this offset on is in these rows; None: not known.
    """

    partition: int
    offsets: NDArray[np.int64]
    batch: TransactionBatch
    advances: NDArray[np.bool_]
    next_offset: int
    begin: int | None = None

    def __len__(self) -> int:
        """Number of inputs."""
        return len(self.offsets)

    def cut(self, at: Iterable[int]) -> Iterator[InputRows]:
        """The same inputs in parts, a new one from each of these offsets on."""
        done, begin = 0, self.begin
        for offset in sorted(at):
            row = int(np.searchsorted(self.offsets, offset))
            if done < row < len(self):
                yield self._part(done, row, offset, begin)
                done, begin = row, offset
        yield self._part(done, len(self), self.next_offset, begin) if done else self

    def _part(self, low: int, high: int, next_offset: int, begin: int | None) -> InputRows:
        rows = slice(low, high)
        return InputRows(
            self.partition,
            self.offsets[rows],
            self.batch.take(rows),
            self.advances[rows],
            next_offset,
            begin,
        )


class InputFaults(Protocol):
    """Is notified of records that could not be read; reading continues unless it raises."""

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Records from offset ``wanted`` to before ``low`` were removed before they were read."""
        ...

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """The records of a batch cannot be unpacked."""
        ...

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """An input without a dead letter, which was accepted, cannot be decoded now."""
        ...


class RaiseFaults:
    """Raises :class:`InputMissing` for each fault: for readers that need every input."""

    def removed(self, topic: str, partition: int, wanted: int, low: int) -> None:
        """Records were removed.

        Raises:
            InputMissing: always.
        """
        raise InputMissing(
            f"{topic} partition {partition}: records from offset {wanted} on are needed, and the "
            f"partition begins at {low}; `stream-scorer history build --from snapshots` "
            "begins a new era without them"
        )

    def unreadable(self, topic: str, partition: int, batch: PassedBatch) -> None:
        """A batch cannot be unpacked.

        Raises:
            InputMissing: always.
        """
        raise InputMissing(
            f"{topic} partition {partition}: the records from offset {batch.begin} to before "
            f"{batch.next_offset} cannot be read: their batch cannot be unpacked. If they were "
            "never scored, `stream-scorer dlq skip` records them as dead letters"
        )

    def undecodable(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """An accepted input cannot be decoded.

        Raises:
            InputMissing: always.
        """
        raise InputMissing(
            f"{topic} partition {partition} offset {offset} was scored, and this version cannot "
            f"read it: {reason}. Use the release that scored it"
        )


RAISE: Final = RaiseFaults()


def read_dead_letters(
    settings: GroupSettings,
    group_id: str,
    spans: Spans,
    *,
    stall_seconds: float = STALL_SECONDS,
    faults: InputFaults = RAISE,
) -> dict[int, dict[int, Stage]]:
    """By partition, the offsets of inputs that have a dead letter, and the stage they failed at.

    Left out are dead letters of other topics, in another partition than their input's, and without
    a known stage: scorers write no such.

    Args:
        settings: broker and topics.
        group_id: appears in the broker's logs; no group is joined.
        spans: the offsets to read in the dead letter topic, by partition.
        stall_seconds: give up when no record arrives for this long.
        faults: is notified of dead letters that cannot be read.

    Raises:
        InputMissing: a dead letter cannot be read; unless ``faults`` permits it.
        RetryableError: the topic could not be read to the end of the spans.
        FatalError: login failed, or this user is not authorized.
    """
    topic, input_topic = settings.dlq_topic, settings.input_topic
    found: dict[int, dict[int, Stage]] = {partition: {} for partition in spans}
    reached = {partition: span.low for partition, span in spans.items()}
    for messages in read_spans(
        settings,
        group_id,
        topic,
        spans,
        stall_seconds,
        on_lost=lambda partition, low: faults.removed(topic, partition, reached[partition], low),
        on_unreadable=lambda partition, batch: faults.unreadable(topic, partition, batch),
    ):
        for partition, records in by_partition(messages):
            reached[partition] = int(records.offsets[-1]) + 1
            for headers in records.headers:
                errors = error_headers(headers)
                source = (errors.get("topic"), errors.get("partition"))
                offset, stage = _offset(errors.get("offset")), errors.get("stage")
                if source != (input_topic, str(partition)) or offset is None:
                    continue
                if stage in _STAGES:
                    found[partition][offset] = Stage(stage)
    return found


def _offset(text: str | None) -> int | None:
    is_number = text and text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if text and is_number else None


def refused_inputs(dead_letters: Mapping[int, Mapping[int, Stage]]) -> Refused:
    """The inputs that were never accepted, from the result of :func:`read_dead_letters`."""
    return {
        partition: np.array(
            sorted(offset for offset, stage in found.items() if stage in NOT_ACCEPTED), np.int64
        )
        for partition, found in dead_letters.items()
    }


def are_among(offsets: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which offsets are among ``known``, which is sorted; bool ``[n]``."""
    if not len(known):
        return np.zeros(len(offsets), np.bool_)
    found: NDArray[np.bool_] = known[np.searchsorted(known[:-1], offsets)] == offsets
    return found


def read_inputs(
    settings: GroupSettings,
    group_id: str,
    spans: Spans,
    decoder: TransactionDecoder,
    refused: Refused,
    *,
    layout: Layout | None = None,
    choose: Choose | None = None,
    stall_seconds: float = STALL_SECONDS,
    faults: InputFaults = RAISE,
) -> Iterator[InputRows]:
    """The accepted inputs of the spans, in batches; each partition in offset order.

    Args:
        settings: broker and topics.
        group_id: appears in the broker's logs; no group is joined.
        spans: the offsets to read, by partition.
        decoder: the decoder that scorers use.
        refused: the inputs that were never accepted; see :func:`refused_inputs`.
        layout: the number columns that are needed; None: all. A batch has every column if its
            records cannot be decoded in the fast way.
        choose: which inputs are needed; None: all.
        stall_seconds: give up when no record arrives for this long.
        faults: is notified of inputs that cannot be read.

    Raises:
        InputMissing: an input cannot be read; unless ``faults`` permits it.
        RetryableError: the topic could not be read to the end of the spans, or the registry does
            not answer.
        FatalError: login failed, or this user is not authorized.
    """
    topic = settings.input_topic
    reader = AcceptedInputs(topic, decoder, refused, layout, choose, faults)
    reached = {partition: span.low for partition, span in spans.items()}
    begin = dict(reached)  # after the last rows

    def removed(partition: int, low: int) -> None:
        faults.removed(topic, partition, reached[partition], low)
        reached[partition] = begin[partition] = low

    def unreadable(partition: int, batch: PassedBatch) -> None:
        span = spans[partition]
        low, high = max(batch.begin, span.low), min(batch.next_offset, span.high)
        passed = replace(batch, begin=low, next_offset=high)
        if not reader.all_refused(partition, passed):
            faults.unreadable(topic, partition, passed)
        reached[partition] = begin[partition] = passed.next_offset

    for messages in read_spans(
        settings, group_id, topic, spans, stall_seconds, on_lost=removed, on_unreadable=unreadable
    ):
        for partition, records in by_partition(messages):
            rows = reader.read(partition, records)
            reached[partition] = int(records.offsets[-1]) + 1
            if rows is not None:
                yield rows if choose is not None else replace(rows, begin=begin[partition])
                begin[partition] = rows.next_offset


@dataclass(frozen=True, slots=True)
class AcceptedInputs:
    """Decodes the accepted ones of records; the fields are arguments of :func:`read_inputs`."""

    topic: str
    decoder: TransactionDecoder
    refused: Refused
    layout: Layout | None
    choose: Choose | None
    faults: InputFaults

    def all_refused(self, partition: int, batch: PassedBatch) -> bool:
        """Whether each offset of an unreadable batch has a dead letter."""
        offsets = np.arange(batch.begin, batch.next_offset, dtype=np.int64)
        return not self._wanted(partition, offsets).any()

    def read(self, partition: int, records: Records) -> InputRows | None:
        """The accepted records of one partition; None if there are none."""
        offsets, values, headers = records.offsets, records.values, records.headers
        next_offset = int(offsets[-1]) + 1
        wanted = self._wanted(partition, offsets)
        if self.choose is not None:
            wanted &= self.choose(partition, offsets)
        bad = {row: reason for row, reason in records.faults().items() if wanted[row]}
        wanted[list(bad)] = False
        if not wanted.all():
            rows = np.flatnonzero(wanted)
            chosen = rows.tolist()
            values, headers = [values[row] for row in chosen], [headers[row] for row in chosen]
            offsets = offsets[rows]
        for row, reason in bad.items():
            self.faults.undecodable(self.topic, partition, int(records.offsets[row]), reason)
        decoded = self._decode(partition, offsets, values, headers)
        if not len(decoded.kept):
            return None
        advances = find_first_copies(headers)
        if len(decoded.kept) < len(offsets):
            offsets, advances = offsets[decoded.kept], advances[decoded.kept]
        return InputRows(partition, offsets, decoded.batch, advances, next_offset)

    def _decode(
        self,
        partition: int,
        offsets: NDArray[np.int64],
        values: Sequence[bytes | None],
        headers: Sequence[Headers],
    ) -> Decoded:
        decoded = self.decoder.decode(values, headers, self.layout)
        for rejection in decoded.rejections:
            offset = int(offsets[rejection.index])
            self.faults.undecodable(self.topic, partition, offset, rejection.reason)
        return decoded

    def _wanted(self, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        refused = self.refused.get(partition)
        if refused is None:
            return np.ones(len(offsets), np.bool_)
        return ~are_among(offsets, refused)
