"""The inputs of an audit: which were read, which have outcomes, and which were redriven. Pure.

Inputs are read in stripes. The open stripe is a window with 13 bytes per offset (a mark, the hash
of the key, the transaction id). Completed stripes take less than one bit per offset.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.completed_offsets import CompletedOffsets
from stream_scorer.audit.records.columns import NOT_DECODED, NOT_SAMPLED, Inputs, Outcomes

_ABSENT: Final = 2  # no data record: a txn marker, an aborted record, a compacted record
_UNANSWERED: Final = 0
_ANSWERED: Final = 1

_Bits = NDArray[np.bool_]


class Matches(NamedTuple):
    """How outcomes of one input partition match its inputs; each bool ``[n]``.

    Attributes:
        absent: the input does not exist; all other columns are False then.
        duplicate: the input already has an outcome.
        wrong_key: the keys differ.
        wrong_transaction: the transaction ids differ.
        compared: the transaction ids were compared.
        undecodable: the input is in the sample but cannot be decoded, so no ids were compared.
        late: key and transaction id of the input are no longer held, so neither was compared.
    """

    absent: _Bits
    duplicate: _Bits
    wrong_key: _Bits
    wrong_transaction: _Bits
    compared: _Bits
    undecodable: _Bits
    late: _Bits


class Ledger:
    """The inputs of one partition from ``low`` on.

    Attributes:
        low: the first audited offset.
        head: all inputs before this offset have been read.
        edge: the offset at which this run stops.
        run_start: the offset at which this run began.
    """

    def __init__(self, low: int, edge: int) -> None:
        self.low = low
        self.head = low
        self.edge = edge
        self.run_start = low
        self._completed = CompletedOffsets()
        self._base = low
        self._marks = np.empty(0, np.uint8)
        self._keys = np.empty(0, np.uint32)
        self._transactions = np.empty(0, np.int64)

    def open(self, stop: int) -> None:
        """Open the stripe that ends at ``stop`` (exclusive)."""
        self._base, size = self.head, stop - self.head
        self._marks = np.full(size, _ABSENT, np.uint8)
        self._keys = np.zeros(size, np.uint32)
        self._transactions = np.full(size, NOT_SAMPLED, np.int64)
        self.head = stop

    def add(self, inputs: Inputs) -> None:
        """Add inputs to the open stripe."""
        cells = inputs.offsets - self._base
        self._marks[cells] = _UNANSWERED
        self._keys[cells] = inputs.key_hashes
        self._transactions[cells] = inputs.transactions

    def close(self) -> None:
        """Complete the stripe: later outcomes of its inputs are matched, but not compared."""
        present = self._marks != _ABSENT
        self._completed.add(self._base, present, self._marks == _UNANSWERED)
        self._base = self.head
        # Not a slice, which would keep the whole window alive.
        self._marks, self._keys = np.empty(0, np.uint8), np.empty(0, np.uint32)
        self._transactions = np.empty(0, np.int64)

    def match(self, outcomes: Outcomes) -> Matches:
        """Match outcomes whose source offsets are in ``[low, head)`` with their inputs."""
        offsets = outcomes.source_offsets
        found = Matches(*(np.zeros(len(offsets), np.bool_) for _ in Matches._fields))
        here = offsets >= self._base
        rows = np.flatnonzero(here)
        if len(rows):
            cells = offsets[rows] - self._base
            marks = self._marks[cells]
            found.absent[rows] = marks == _ABSENT
            found.duplicate[rows] = (marks == _ANSWERED) | _repeated(cells)
            self._compare(outcomes, rows, cells, found)
            self._marks[cells[marks != _ABSENT]] = _ANSWERED
        if len(rows) < len(offsets):
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
        expected, actual = self._transactions[cells], outcomes.transactions[rows]
        is_sampled = (expected != NOT_SAMPLED) & (actual != NOT_SAMPLED)
        is_undecodable = is_sampled & (expected == NOT_DECODED)
        found.undecodable[rows] = is_undecodable
        found.compared[rows] = is_sampled & ~is_undecodable
        found.wrong_transaction[rows] = is_sampled & ~is_undecodable & (expected != actual)

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
