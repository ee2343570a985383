"""One input partition in an audit: what was read, and which outcomes it has. Pure.

Inputs are read in stripes. The stripe at hand is a window with thirteen bytes an offset (a mark,
the hash of the key, the transaction's id); behind it everything is settled to less than a bit an
offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.findings import NOT_DECODED, NOT_SAMPLED, Inputs, Outcomes
from stream_scorer.audit.settled import Settled

_ABSENT: Final = 2  # no data record: a txn marker, an aborted record, a compacted one
_UNANSWERED: Final = 0
_ANSWERED: Final = 1

_Bits = NDArray[np.bool_]


class Answers(NamedTuple):
    """What was found out about some outcomes of one input partition; each bool ``[n]``.

    Attributes:
        absent: there is no such input; False in all others then.
        again: it has an outcome already.
        wrong_key: its key is another.
        wrong_transaction: its transaction is another.
        compared: its transaction was compared.
        unread: its transaction was to be compared, but the input cannot be read.
        late: its key is not known any more, nor its transaction, so neither was compared.
    """

    absent: _Bits
    again: _Bits
    wrong_key: _Bits
    wrong_transaction: _Bits
    compared: _Bits
    unread: _Bits
    late: _Bits


class Ledger:
    """The inputs of one partition from ``low`` on.

    Attributes:
        low: the first offset that is audited.
        head: everything before it has been read.
        edge: where this run stops.
        run_start: where this run began.
    """

    def __init__(self, low: int, edge: int) -> None:
        self.low = low
        self.head = low
        self.edge = edge
        self.run_start = low
        self._settled = Settled()
        self._base = low
        self._marks = np.empty(0, np.uint8)
        self._keys = np.empty(0, np.uint32)
        self._transactions = np.empty(0, np.int64)

    def open(self, stop: int) -> None:
        """Begin the stripe up to ``stop`` (exclusive)."""
        self._base, size = self.head, stop - self.head
        self._marks = np.full(size, _ABSENT, np.uint8)
        self._keys = np.zeros(size, np.uint32)
        self._transactions = np.full(size, NOT_SAMPLED, np.int64)
        self.head = stop

    def add(self, inputs: Inputs) -> None:
        """Inputs of the open stripe."""
        cells = inputs.offsets - self._base
        self._marks[cells] = _UNANSWERED
        self._keys[cells] = inputs.key_hashes
        self._transactions[cells] = inputs.transactions

    def close(self) -> None:
        """End the stripe: later outcomes of it are still found, but no longer compared."""
        present = self._marks != _ABSENT
        self._settled.add(self._base, present, self._marks == _UNANSWERED)
        self._base = self.head
        # Not a slice, which would keep the whole window alive.
        self._marks, self._keys = np.empty(0, np.uint8), np.empty(0, np.uint32)
        self._transactions = np.empty(0, np.int64)

    def answer(self, outcomes: Outcomes) -> Answers:
        """Outcomes of offsets in ``[low, head)``."""
        offsets = outcomes.source_offsets
        found = Answers(*(np.zeros(len(offsets), np.bool_) for _ in Answers._fields))
        here = offsets >= self._base
        rows = np.flatnonzero(here)
        if len(rows):
            cells = offsets[rows] - self._base
            marks = self._marks[cells]
            found.absent[rows] = marks == _ABSENT
            found.again[rows] = (marks == _ANSWERED) | _repeated(cells)
            self._compare(outcomes, rows, cells, found)
            self._marks[cells[marks != _ABSENT]] = _ANSWERED
        if len(rows) < len(offsets):
            rows = np.flatnonzero(~here)
            present, unanswered = self._settled.look(offsets[rows])
            found.absent[rows] = ~present
            found.again[rows] = ~unanswered | _repeated(offsets[rows])
            found.late[rows] = True
            self._settled.answer(offsets[rows[unanswered]])
        if found.absent.any():
            for column in found[1:]:
                np.logical_and(column, ~found.absent, out=column)
        return found

    def _compare(
        self, outcomes: Outcomes, rows: NDArray[Any], cells: NDArray[np.int64], found: Answers
    ) -> None:
        """Outcomes of inputs in the open stripe, by row and cell, with those inputs."""
        found.wrong_key[rows] = self._keys[cells] != outcomes.key_hashes[rows]
        wanted, said = self._transactions[cells], outcomes.transactions[rows]
        is_asked = (wanted != NOT_SAMPLED) & (said != NOT_SAMPLED)
        is_unread = is_asked & (wanted == NOT_DECODED)
        found.unread[rows] = is_unread
        found.compared[rows] = is_asked & ~is_unread
        found.wrong_transaction[rows] = is_asked & ~is_unread & (wanted != said)

    def begin_run(self, edge: int, *, is_resumed: bool = False) -> None:
        """Go on where the last run stopped, or was interrupted, up to ``edge``."""
        self.edge = max(edge, self.head)
        if not is_resumed:
            self.run_start = self.head

    def skip_to(self, offset: int) -> int:
        """Retention has removed what is before ``offset``: the offsets never looked at."""
        self._settled.forget_before(offset)
        lost = max(0, offset - self.head)
        self.head += lost
        self._base = self.head
        return lost

    def count_missing(self, low: int) -> int:
        """Inputs of this run from ``low`` on without an outcome."""
        return self._settled.count_unanswered(max(low, self.run_start), self.head)

    def missing(self, low: int, limit: int) -> list[int]:
        """The first of those."""
        found = self._settled.unanswered(max(low, self.run_start), self.head)
        return [offset for offset, _ in zip(found, range(limit), strict=False)]

    def as_state(self) -> dict[str, Any]:
        """Between two stripes; for :meth:`from_state`."""
        return {
            "low": self.low,
            "head": self.head,
            "edge": self.edge,
            "run_start": self.run_start,
            "settled": self._settled.as_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Ledger:
        """What :meth:`as_state` gave."""
        ledger = cls(state["low"], state["edge"])
        ledger.head = ledger._base = state["head"]
        ledger.run_start = state["run_start"]
        ledger._settled = Settled.from_state(state["settled"])
        return ledger


def _repeated(values: NDArray[np.int64]) -> _Bits:
    """Whether each value occurred before in the array."""
    again = np.ones(len(values), np.bool_)
    again[np.unique(values, return_index=True)[1]] = False
    return again
