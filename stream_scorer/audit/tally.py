"""What an audit counts, and which offenders it lists. Pure.

Counters by name:

- ``inputs``, ``scores``, ``dead_letters``: records read.
- ``redriven``: inputs redriven from dead letters.
- ``expired``: outcomes whose inputs retention has removed, or whose inputs lie before the range.
- ``older``: outcomes that are older than the input with their coordinates, which therefore belong
  to an earlier topic of that name; they are no outcomes of that input.
- ``inputs_lost``: inputs that were deleted before they had an outcome, an upper bound.
- ``compacted``: outcomes of inputs that compaction may have removed.
- ``later``: outcomes of inputs after the audited range.
- ``waiting``: the same, kept for the next run.
- ``settled_late``: outcomes of inputs that an earlier run reported missing.
- ``not_judged``: inputs without an outcome, where the outcome may have expired.
- ``removed_early``: missing outcomes that only a person, not retention, can have removed.
- ``unaudited``: offsets that retention removed before this audit read them.
- ``unplaced``: outcomes in a different partition from their input, too many to keep; their inputs
  count as missing too.
- ``transactions_compared``: outcomes whose transaction was compared with that of their input.
- ``inputs_unread``: scores whose transaction could not be compared, because the schema of the
  input is unknown now.
- ``keys_not_compared``: outcomes that came so late that neither key nor transaction was compared.
- ``recomputed``: scores that were computed again and compared.
- ``not_recomputed``: scores that were to be computed again and could not.
- each :class:`Fault`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.records.columns import Coordinates, OutcomeKind, Outcomes
from stream_scorer.audit.verdict import Fault, Offender


class AuditTally:
    """The counters of one run, and the first offenders of each fault.

    Args:
        limit: number of offenders to list; all are counted.
    """

    def __init__(self, limit: int = 20) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self._offenders: dict[Fault, list[Offender]] = {}

    def count(self, name: str, number: int | np.integer[Any]) -> None:
        """Add to a counter."""
        if number:
            self.counts[str(name)] += int(number)  # a Fault is a str, but not a JSON key

    def count_outcomes(self, kind: OutcomeKind, number: int) -> None:
        """Count outcomes that were read."""
        self.count("scores" if kind is OutcomeKind.SCORE else "dead_letters", number)

    def add_faults(self, fault: Fault, outcomes: Outcomes, rows: NDArray[np.bool_]) -> None:
        """Count a fault of the outcomes that ``rows`` selects."""
        if not rows.any():
            return
        found = np.flatnonzero(rows)
        self.count(fault, len(found))
        for row in found[: self.room(fault)].tolist():
            self._list(Offender(fault, outcomes.kind, outcomes.place(row), outcomes.source(row)))

    def add_fault(self, offender: Offender) -> None:
        """Count one fault."""
        self.count(offender.fault, 1)
        if self.room(offender.fault):
            self._list(offender)

    def add_missing(self, partition: int, number: int, first: Iterable[int]) -> None:
        """Count inputs without an outcome; ``first`` holds the offsets of the first of them."""
        self.count(Fault.MISSING, number)
        for offset in first:
            self._list(Offender(Fault.MISSING, None, None, Coordinates(partition, offset)))

    def add_differing(self, number: int, first: Iterable[Offender]) -> None:
        """Count scores that were not reproduced; ``first`` holds the first of them."""
        self.count(Fault.NOT_REPRODUCED, number)
        for offender, _ in zip(first, range(self.room(Fault.NOT_REPRODUCED)), strict=False):
            self._list(offender)

    def room(self, fault: Fault) -> int:
        """Number of offenders of a fault that can still be listed."""
        return max(0, self.limit - len(self._offenders.get(fault, ())))

    def faults(self) -> dict[Fault, int]:
        """Number of occurrences of each fault."""
        return {fault: self.counts[fault] for fault in Fault}

    def offenders(self) -> tuple[Offender, ...]:
        """At most ``limit`` offenders, some of each fault, sorted by fault and coordinates."""
        alternating = chain.from_iterable(zip_longest(*self._offenders.values()))
        chosen = list(islice((o for o in alternating if o is not None), self.limit))
        return tuple(sorted(chosen, key=_place))

    def as_state(self) -> dict[str, Any]:
        """JSON values for :meth:`restore`."""
        return {
            "counts": dict(self.counts),
            "offenders": [o.as_json() for found in self._offenders.values() for o in found],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add what :meth:`as_state` returned."""
        self.counts.update(state["counts"])
        for found in state["offenders"]:
            kind = OutcomeKind(found["kind"]) if found["kind"] else None
            outcome, source = (
                Coordinates(**found[name]) if found[name] else None for name in ("outcome", "input")
            )
            detail = found.get("detail")
            self._list(Offender(Fault(found["fault"]), kind, outcome, source, detail))

    def _list(self, offender: Offender) -> None:
        self._offenders.setdefault(offender.fault, []).append(offender)


def _place(offender: Offender) -> tuple[int, Coordinates, Coordinates]:
    nowhere = Coordinates(-1, -1)
    rank = list(Fault).index(offender.fault)
    return rank, offender.source or nowhere, offender.outcome or nowhere
