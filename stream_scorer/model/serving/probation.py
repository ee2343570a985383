"""A new version's first minutes: what it has done, and who takes over if it must go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.reference import Reference, read_reference
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.guard import GuardPolicy, Sample, Trip, figures, judge
from stream_scorer.runtime.json_limits import shown


class Probation:
    """Counts what ``version`` does, batch by batch, and judges it.

    A batch is looked at before it is committed (:meth:`check`) and counts once it is
    (:meth:`accept`), so that one which comes again counts once. Both belong to the thread that
    scores; :meth:`has_passed` and :meth:`figures` may be asked from any.
    """

    def __init__(
        self,
        bundle: Bundle,
        fallback: Bundle,
        policy: GuardPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.version = bundle.version
        self.fallback = fallback
        self._reference: Reference = read_reference(bundle.metadata)
        self._policy = policy
        self._clock = clock
        self._sample = Sample(0, 0, 0, np.zeros(len(self._reference.edges) + 1, np.int64))
        self._next = self._sample
        self._began_at: float | None = None

    def check(self, scores: NDArray[np.float64], flagged: int, errors: int) -> Trip | None:
        """Judge all rows so far and a batch: its finite scores, and rows that had none."""
        batch = Sample(len(scores) + errors, errors, flagged, self._reference.count(scores))
        self._next = self._sample + batch
        return judge(self._next, self._reference, self._policy)

    def accept(self) -> None:
        """The batch looked at last was committed."""
        self._sample = self._next
        if self._began_at is None:
            self._began_at = self._clock()

    def has_passed(self) -> bool:
        """Whether there was time and work enough for anything wrong to show."""
        if self._began_at is None or self._sample.rows < self._policy.min_rows:
            return False
        return self._clock() - self._began_at >= self._policy.seconds

    def figures(self) -> dict[str, float]:
        """The figures as they stand."""
        return figures(self._sample, self._reference)


def describe_rejection(marker: Mapping[str, Any]) -> str:
    """A rejection marker in one line for people; markers are whatever somebody wrote."""
    reason = marker.get("reason")
    text = shown(reason) if isinstance(reason, str) else shown(dict(marker))
    by = [f"by {shown(marker['host'])}"] if isinstance(marker.get("host"), str) else []
    at = [f"at {shown(marker['at'])}"] if isinstance(marker.get("at"), str) else []
    said = " ".join([*by, *at])
    return f"{text} ({said})" if said else text
