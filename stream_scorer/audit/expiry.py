"""From which input on retention cannot have removed an outcome. Pure.

What retention by time removes was written before ``now - retention.ms``: the *cut* of an outcome
topic. The outcomes of a partition are written in its inputs' order and after them, so an input with
an outcome (of either kind) or a timestamp from after the cut shows that no later input's outcome
can have expired. An input stamped too early shows nothing; one stamped too late is allowed for by
:func:`skew_ms`.

Retention by size, and a person with DeleteRecords, remove records of any age. The first is known
from the topic's configuration and leaves a topic without a cut; the second is not, and inputs whose
outcomes were deleted so count as missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.findings import OutcomeKind, Outcomes

LogKey = tuple[OutcomeKind, int]

MOST_SKEW_MS: Final = 3_600_000
"""By as much Kafka lets a record be stamped ahead (``message.timestamp.after.max.ms``)."""

_NEVER: Final = -1
"""The cut of a topic that keeps everything."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The cuts as of the beginning of a run, epoch milliseconds.

    Attributes:
        at: by kind; without one, nothing is known of what retention removes there.
        latest: timestamps after it are nonsense.
    """

    at: Mapping[OutcomeKind, int] = field(default_factory=dict)
    latest: int = 0


def skew_ms(retention_ms: int) -> int:
    """How far clocks may be apart, and how long an audit may take, without a false alarm."""
    return min(MOST_SKEW_MS, retention_ms // 4)


def find_cuts(configs: Mapping[OutcomeKind, Mapping[str, str]], now_ms: int) -> Cuts:
    """From the outcome topics' configurations, defaults of the broker included."""
    found = {}
    for kind, config in configs.items():
        retention_ms = int(config.get("retention.ms", "0"))
        if config.get("retention.bytes") != "-1":
            continue
        if retention_ms < 0:
            found[kind] = _NEVER
        else:
            found[kind] = now_ms - retention_ms + skew_ms(retention_ms)
    return Cuts(found, now_ms + MOST_SKEW_MS)


class Expiry:
    """Looks at what is read, and remembers each partition's first input after the cuts."""

    def __init__(self) -> None:
        self._cuts = Cuts()
        self._first: dict[LogKey, int] = {}

    def begin_run(self, cuts: Cuts, lost: Collection[LogKey], *, is_resumed: bool = False) -> None:
        """Look anew; a resumed run keeps what it had seen, but not of logs that lost more."""
        self._cuts = cuts
        kept = self._first if is_resumed else {}
        self._first = {key: first for key, first in kept.items() if key not in lost}

    def see_outcomes(self, outcomes: Outcomes) -> None:
        """Outcomes of one partition."""
        own = outcomes.source_partitions == outcomes.partition
        self.see(outcomes.partition, outcomes.source_offsets[own], outcomes.times[own])

    def see(self, partition: int, offsets: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Inputs of one partition, and when each, or its outcome, was written."""
        for kind, cut in self._cuts.at.items():
            known = self._first.get((kind, partition))
            fresh = offsets[(times >= cut) & (times <= self._cuts.latest)]
            if len(fresh) and (known is None or int(fresh.min()) < known):
                self._first[kind, partition] = int(fresh.min())

    def judged_from(self, kind: OutcomeKind, partition: int, edge: int) -> int:
        """Inputs before it may have had outcomes of this kind that expired."""
        if self._cuts.at.get(kind) == _NEVER:
            return 0
        return self._first.get((kind, partition), edge)

    def as_state(self) -> list[list[Any]]:
        """For :meth:`from_state`; the next run brings its own cuts."""
        return [[kind, partition, first] for (kind, partition), first in self._first.items()]

    @classmethod
    def from_state(cls, state: list[list[Any]]) -> Expiry:
        """What :meth:`as_state` gave."""
        expiry = cls()
        expiry._first = {(OutcomeKind(kind), partition): first for kind, partition, first in state}
        return expiry
