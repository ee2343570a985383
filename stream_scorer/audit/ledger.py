"""The inputs of an audit: which were read, which have outcomes, and which were redriven. Pure.

Inputs are read in stripes. The open stripe is a window with 14 bytes per offset (a mark, the hash
of the key, the time, what is known of the content) and 32 bytes per input of the sample. Completed
stripes take less than one bit per offset.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.completed_offsets import CompletedOffsets
from stream_scorer.audit.records.columns import (
    NOT_HASHED,
    NOT_STATED,
    Content,
    Inputs,
    Mark,
    OutcomeKind,
    Outcomes,
)

_ABSENT: Final = 2  # no data record: a txn marker, an aborted record, a compacted record
_UNANSWERED: Final = 0
_ANSWERED: Final = 1

_Bits = NDArray[np.bool_]


class Matches(NamedTuple):
    """How outcomes of one input partition match its inputs; each bool ``[n]``.

    Attributes:
        absent: the input does not exist; all other columns are False then.
        older: the outcome is older than the input, so it belongs to an earlier topic of that name;
            all following columns are False then.
        duplicate: the input already has an outcome.
        wrong_key: the keys differ.
        wrong_transaction: the transaction ids or the event times differ.
        wrong_value: the values of input and dead letter differ.
        unscorable: a score of an input that cannot be scored.
        wrong_rejection: a dead letter says that the input cannot be decoded, but it can.
        compared: the transactions were compared.
        undecodable: the input is in the sample but its schema is unknown now.
        late: the input's columns are no longer held, so nothing was compared.
    """

    absent: _Bits
    older: _Bits
    duplicate: _Bits
    wrong_key: _Bits
    wrong_transaction: _Bits
    wrong_value: _Bits
    unscorable: _Bits
    wrong_rejection: _Bits
    compared: _Bits
    undecodable: _Bits
    late: _Bits


@dataclass(frozen=True, slots=True)
class Clocks:
    """What to make of timestamps, which come from the clocks of different machines.

    Attributes:
        skew_ms: an outcome may seem to be older than its input by this much.
        latest: inputs with later timestamps have a wrong one, which proves nothing.
    """

    skew_ms: int = 1000
    latest: int = np.iinfo(np.int64).max


class _Sample:
    """Inputs of the open stripe whose content is known, in offset order."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int64], ...]] = []

    def add(self, inputs: Inputs) -> None:
        rows = np.flatnonzero(inputs.contents != Content.NOT_SAMPLED)
        if len(rows):
            columns = (inputs.offsets, inputs.transactions, inputs.event_times, inputs.value_hashes)
            self._parts.append(tuple(column[rows] for column in columns))

    def find(
        self, offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Transactions, event times and hashes of values of inputs that are in the sample."""
        if len(self._parts) > 1:
            self._parts = [
                tuple(np.concatenate(columns) for columns in zip(*self._parts, strict=True))
            ]
        known, *columns = self._parts[0]
        rows = np.searchsorted(known, offsets)
        transactions, event_times, hashes = (column[rows] for column in columns)
        return transactions, event_times, hashes


class Ledger:
    """The inputs of one partition from ``low`` on.

    Attributes:
        low: the first audited offset.
        head: all inputs before this offset have been read.
        edge: the offset at which this run stops.
        run_start: the offset at which this run began.
        clocks: what to make of timestamps.
    """

    def __init__(self, low: int, edge: int) -> None:
        self.low = low
        self.head = low
        self.edge = edge
        self.run_start = low
        self.clocks = Clocks()
        self._completed = CompletedOffsets()
        self._base = low
        self._marks = np.empty(0, np.uint8)
        self._keys = np.empty(0, np.uint32)
        self._times = np.empty(0, np.int64)
        self._contents = np.empty(0, np.uint8)
        self._sample = _Sample()

    def open(self, stop: int) -> None:
        """Open the stripe that ends at ``stop`` (exclusive)."""
        self._base, size = self.head, stop - self.head
        self._marks = np.full(size, _ABSENT, np.uint8)
        self._keys = np.zeros(size, np.uint32)
        self._times = np.full(size, -1, np.int64)
        self._contents = np.full(size, Content.NOT_SAMPLED, np.uint8)
        self._sample = _Sample()
        self.head = stop

    def add(self, inputs: Inputs) -> None:
        """Add inputs to the open stripe."""
        cells = inputs.offsets - self._base
        self._marks[cells] = _UNANSWERED
        self._keys[cells] = inputs.key_hashes
        self._times[cells] = inputs.times
        self._contents[cells] = inputs.contents
        self._sample.add(inputs)

    def close(self) -> None:
        """Complete the stripe: later outcomes of its inputs are matched, but not compared."""
        present = self._marks != _ABSENT
        self._completed.add(self._base, present, self._marks == _UNANSWERED)
        self._base = self.head
        # Not a slice, which would keep the whole window alive.
        self._marks, self._keys = np.empty(0, np.uint8), np.empty(0, np.uint32)
        self._times, self._contents = np.empty(0, np.int64), np.empty(0, np.uint8)
        self._sample = _Sample()

    def older(self, outcomes: Outcomes) -> _Bits:
        """Outcomes that are older than their input, as far as it is in the open stripe."""
        found = np.zeros(len(outcomes), np.bool_)
        offsets = outcomes.source_offsets
        rows = np.flatnonzero((offsets >= self._base) & (offsets < self.head))
        if len(rows):
            times = self._times[offsets[rows] - self._base]
            own = outcomes.times[rows]
            found[rows] = (
                (own >= 0) & (own < times - self.clocks.skew_ms) & (times <= self.clocks.latest)
            )
        return found

    def match(self, outcomes: Outcomes, *, is_newer: bool = False) -> Matches:
        """Match outcomes whose source offsets are in ``[low, head)`` with their inputs.

        With ``is_newer``, none of them is older than its input.
        """
        offsets = outcomes.source_offsets
        found = Matches(*(np.zeros(len(offsets), np.bool_) for _ in Matches._fields))
        here = offsets >= self._base
        rows = np.flatnonzero(here)
        if len(rows):
            if not is_newer:
                found.older[:] = self.older(outcomes)
                rows = np.flatnonzero(here & ~found.older)
            cells = offsets[rows] - self._base
            marks = self._marks[cells]
            found.absent[rows] = marks == _ABSENT
            found.duplicate[rows] = (marks == _ANSWERED) | _repeated(cells)
            self._compare(outcomes, rows, cells, found)
            self._marks[cells[marks != _ABSENT]] = _ANSWERED
        if not here.all():
            rows = np.flatnonzero(~here)
            present, unanswered = self._completed.lookup(offsets[rows])
            found.absent[rows] = ~present
            found.duplicate[rows] = ~unanswered | _repeated(offsets[rows])
            found.late[rows] = True
            self._completed.mark_answered(offsets[rows[unanswered]])
        if found.absent.any():
            for column in found[1:]:
                np.logical_and(column, ~found.absent, out=column)
        return found

    def _compare(
        self, outcomes: Outcomes, rows: NDArray[Any], cells: NDArray[np.int64], found: Matches
    ) -> None:
        """Compare outcomes (``rows``) with their inputs in the open stripe (``cells``)."""
        found.wrong_key[rows] = self._keys[cells] != outcomes.key_hashes[rows]
        known = self._contents[cells] != Content.NOT_SAMPLED
        if not known.any():
            return
        rows, cells = rows[known], cells[known]
        contents = self._contents[cells]
        is_decoded = contents == Content.DECODED
        transactions, event_times, hashes = self._sample.find(outcomes.source_offsets[rows])
        if outcomes.kind is OutcomeKind.SCORE:
            stated = outcomes.event_times[rows]
            is_other = transactions != outcomes.transactions[rows]
            is_other |= (stated != NOT_STATED) & (stated != event_times)
            found.undecodable[rows] = contents == Content.UNKNOWN
            found.unscorable[rows] = contents == Content.REJECTED
            found.compared[rows] = is_decoded
            found.wrong_transaction[rows] = is_decoded & is_other
        else:
            own = outcomes.value_hashes[rows]
            found.wrong_value[rows] = (own != NOT_HASHED) & (own != hashes)
            found.wrong_rejection[rows] = is_decoded & outcomes.have(Mark.BLAMES_RECORD)[rows]

    def begin_run(self, edge: int, *, is_resumed: bool = False) -> None:
        """Continue where the last run stopped, or was interrupted, up to ``edge``."""
        self.edge = max(edge, self.head)
        if not is_resumed:
            self.run_start = self.head

    def skip_to(self, offset: int) -> int:
        """Skip what retention removed before ``offset``; returns how many offsets were not read."""
        self._completed.forget_before(offset)
        lost = max(0, offset - self.head)
        self.head += lost
        self._base = self.head
        return lost

    def count_missing(self, low: int) -> int:
        """Number of inputs of this run from ``low`` on without an outcome."""
        return self._completed.count_unanswered(max(low, self.run_start), self.head)

    def missing(self, low: int, limit: int) -> list[int]:
        """Offsets of the first ``limit`` of those inputs."""
        found = self._completed.unanswered(max(low, self.run_start), self.head)
        return [offset for offset, _ in zip(found, range(limit), strict=False)]

    def as_state(self) -> dict[str, Any]:
        """JSON values for :meth:`from_state`; valid between two stripes."""
        return {
            "low": self.low,
            "head": self.head,
            "edge": self.edge,
            "run_start": self.run_start,
            "settled": self._completed.as_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Ledger:
        """Restore the result of :meth:`as_state`."""
        ledger = cls(state["low"], state["edge"])
        ledger.head = ledger._base = state["head"]
        ledger.run_start = state["run_start"]
        ledger._completed = CompletedOffsets.from_state(state["settled"])
        return ledger


class RedrivenOnce:
    """Checks that no dead letter was redriven twice; eight bytes per redriven dead letter."""

    def __init__(self) -> None:
        self._seen: dict[int, NDArray[np.int64]] = {}

    def add(self, origins: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Add dead letters (partition and offset, int64 ``[k, 2]``); True for those seen before."""
        again = np.ones(len(origins), np.bool_)
        for partition in np.unique(origins[:, 0]).tolist():
            rows = np.flatnonzero(origins[:, 0] == partition)
            known = self._seen.get(partition, np.empty(0, np.int64))
            offsets, first = np.unique(origins[rows, 1], return_index=True)
            again[rows[first]] = np.isin(offsets, known)
            self._seen[partition] = np.union1d(known, offsets)
        return again

    def as_state(self) -> dict[str, str]:
        """JSON values for :meth:`from_state`."""
        return {
            str(partition): base64.b64encode(seen.astype("<i8").tobytes()).decode()
            for partition, seen in self._seen.items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, str]) -> RedrivenOnce:
        """Restore the result of :meth:`as_state`."""
        once = cls()
        for partition, seen in state.items():
            once._seen[int(partition)] = np.frombuffer(base64.b64decode(seen), "<i8").copy()
        return once


def _repeated(values: NDArray[np.int64]) -> _Bits:
    """Whether each value occurred earlier in the array."""
    again = np.ones(len(values), np.bool_)
    again[np.unique(values, return_index=True)[1]] = False
    return again
