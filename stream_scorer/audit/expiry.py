"""Finds the first input whose outcome retention cannot have removed. Pure.

Retention by time removes what was written before ``now - retention.ms``: the *cut* of an outcome
topic. The outcomes of a partition are written after its inputs and in their order. If an input, or
its outcome of either kind, has a timestamp after the cut, no outcome of a later input can have
expired. An input with too early a timestamp proves nothing; :func:`skew_ms` allows for one with too
late a timestamp.

Retention by size and DeleteRecords remove records of any age. Retention by size is known from the
topic's configuration: such a topic has no cut. DeleteRecords cannot be detected: inputs whose
outcomes were deleted that way count as missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.records.columns import OutcomeKind, Outcomes

LogKey = tuple[OutcomeKind, int]

MOST_SKEW_MS: Final = 3_600_000
"""How far in the future Kafka accepts a timestamp (``message.timestamp.after.max.ms``)."""

_NEVER: Final = -1
"""The cut of a topic that keeps everything."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The cuts at the beginning of a run, epoch milliseconds.

    Attributes:
        at: cut by kind of outcome; a kind without a cut may have lost records of any age.
        latest: later timestamps are ignored as wrong.
    """

    at: Mapping[OutcomeKind, int] = field(default_factory=dict)
    latest: int = 0


def skew_ms(retention_ms: int) -> int:
    """Margin for clock differences and for the time an audit takes, against false alarms."""
    return min(MOST_SKEW_MS, retention_ms // 4)


def find_cuts(configs: Mapping[OutcomeKind, Mapping[str, str]], now_ms: int) -> Cuts:
    """The cuts from the outcome topics' configurations, including the broker's defaults."""
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
    """Keeps each partition's first input after the cuts."""

    def __init__(self) -> None:
        self._cuts = Cuts()
        self._first: dict[LogKey, int] = {}

    def begin_run(self, cuts: Cuts, lost: Collection[LogKey], *, is_resumed: bool = False) -> None:
        """Start over; a resumed run keeps its results, except for logs that lost more records."""
        self._cuts = cuts
        kept = self._first if is_resumed else {}
        self._first = {key: first for key, first in kept.items() if key not in lost}

    def see_outcomes(self, outcomes: Outcomes) -> None:
        """Take the times of outcomes of one partition into account."""
        own = outcomes.source_partitions == outcomes.partition
        self.see(outcomes.partition, outcomes.source_offsets[own], outcomes.times[own])

    def see(self, partition: int, offsets: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Take inputs of one partition into account, with the times they or their outcomes have."""
        for kind, cut in self._cuts.at.items():
            known = self._first.get((kind, partition))
            fresh = offsets[(times >= cut) & (times <= self._cuts.latest)]
            if len(fresh) and (known is None or int(fresh.min()) < known):
                self._first[kind, partition] = int(fresh.min())

    def judged_from(self, kind: OutcomeKind, partition: int, edge: int) -> int:
        """Inputs before this offset may have had outcomes of this kind that expired."""
        if self._cuts.at.get(kind) == _NEVER:
            return 0
        return self._first.get((kind, partition), edge)

    def as_state(self) -> list[list[Any]]:
        """JSON values for :meth:`from_state`; the next run has cuts of its own."""
        return [[kind, partition, first] for (kind, partition), first in self._first.items()]

    @classmethod
    def from_state(cls, state: list[list[Any]]) -> Expiry:
        """Restore the result of :meth:`as_state`."""
        expiry = cls()
        expiry._first = {(OutcomeKind(kind), partition): first for kind, partition, first in state}
        return expiry
