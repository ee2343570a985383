"""What an audit counts and whom it names. Pure.

Counts by name: ``inputs``, ``scores``, ``dead_letters`` (read), ``redriven`` (inputs made of dead
letters), ``expired`` (outcomes whose inputs retention has removed, or lie before the range),
``compacted`` (outcomes of inputs that compaction may have removed), ``later`` (outcomes of inputs
beyond the audited ones), ``waiting`` (the same, kept for the next run), ``settled_late`` (outcomes
of inputs that an earlier run reported missing), ``not_judged`` (inputs without an outcome, which
may have expired), ``removed_early`` (missing outcomes that only a person, not retention, can have
removed), ``unaudited`` (offsets that retention removed before this audit came to them),
``unplaced`` (outcomes in another partition than their input, too many to keep, so that their inputs
count as missing too), ``transactions_compared`` (outcomes whose transaction was compared with that
of their input), ``inputs_unread`` (scores for which that was not possible, as the input cannot be
decoded), ``keys_not_compared`` (outcomes that came so late that neither key nor transaction was
compared), and each :class:`Fault`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.findings import Coordinates, Fault, Offender, OutcomeKind, Outcomes


class AuditTally:
    """The figures of one run, and the first offenders of each fault."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.counts: Counter[str] = Counter()
        self._offenders: dict[Fault, list[Offender]] = {}

    def count(self, name: str, number: int | np.integer[Any]) -> None:
        """Add to a figure."""
        if number:
            self.counts[str(name)] += int(number)  # a Fault is a name, too, but not in JSON

    def blame(self, fault: Fault, outcomes: Outcomes, rows: NDArray[np.bool_]) -> None:
        """A fault of some outcomes, by mask."""
        if not rows.any():
            return
        found = np.flatnonzero(rows)
        self.count(fault, len(found))
        for row in found[: self.room(fault)].tolist():
            self._name(Offender(fault, outcomes.kind, outcomes.place(row), outcomes.source(row)))

    def note(self, offender: Offender) -> None:
        """One fault."""
        self.count(offender.fault, 1)
        if self.room(offender.fault):
            self._name(offender)

    def miss(self, partition: int, number: int, first: Iterable[int]) -> None:
        """Inputs without an outcome, and the offsets of the first of them."""
        self.count(Fault.MISSING, number)
        for offset in first:
            self._name(Offender(Fault.MISSING, None, None, Coordinates(partition, offset)))

    def room(self, fault: Fault) -> int:
        """How many more of a fault are named."""
        return max(0, self._limit - len(self._offenders.get(fault, ())))

    def faults(self) -> dict[Fault, int]:
        """How often each occurred."""
        return {fault: self.counts[fault] for fault in Fault}

    def offenders(self) -> tuple[Offender, ...]:
        """So many as are to be named, with some of each fault, by fault and place."""
        in_turn = chain.from_iterable(zip_longest(*self._offenders.values()))
        chosen = list(islice((o for o in in_turn if o is not None), self._limit))
        return tuple(sorted(chosen, key=_place))

    def as_state(self) -> dict[str, Any]:
        """For :meth:`restore`."""
        return {
            "counts": dict(self.counts),
            "offenders": [o.as_json() for found in self._offenders.values() for o in found],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`as_state` gave."""
        self.counts.update(state["counts"])
        for found in state["offenders"]:
            kind = OutcomeKind(found["kind"]) if found["kind"] else None
            outcome, source = (
                Coordinates(**found[name]) if found[name] else None for name in ("outcome", "input")
            )
            self._name(Offender(Fault(found["fault"]), kind, outcome, source))

    def _name(self, offender: Offender) -> None:
        self._offenders.setdefault(offender.fault, []).append(offender)


def _place(offender: Offender) -> tuple[int, Coordinates, Coordinates]:
    nowhere = Coordinates(-1, -1)
    rank = list(Fault).index(offender.fault)
    return rank, offender.source or nowhere, offender.outcome or nowhere
