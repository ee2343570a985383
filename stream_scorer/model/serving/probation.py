"""A new version's first minutes: its counts so far, and the version to fall back to."""

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
    """Counts the results of ``version``, batch by batch, and judges it.

    A batch is judged before its commit (:meth:`check`) and counted after it (:meth:`accept`), so
    a redelivered batch counts once. Only the scoring thread may call these two. Any thread may
    call :meth:`has_passed` and :meth:`figures`.
    """

    def __init__(
        self,
        bundle: Bundle,
        fallback: Bundle,
        policy: GuardPolicy,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_cold: Callable[[Bundle], bool] = lambda _: False,
    ) -> None:
        self._bundle = bundle
        self._is_cold = is_cold
        self.version = bundle.version
        self.fallback = fallback
        self._reference: Reference = read_reference(bundle.metadata)
        self._policy = policy
        self._clock = clock
        self._sample = Sample(0, 0, 0, np.zeros(len(self._reference.edges) + 1, np.int64))
        self._next = self._sample
        self._began_at: float | None = None

    def check(self, scores: NDArray[np.float64], flagged: int, errors: int) -> Trip | None:
        """Judge all rows so far plus a batch: its finite scores, and the rows without one."""
        batch = Sample(len(scores) + errors, errors, flagged, self._reference.count(scores))
        self._next = self._sample + batch
        return judge(
            self._next, self._reference, self._policy, is_warm=not self._is_cold(self._bundle)
        )

    def accept(self) -> None:
        """Count the batch checked last: it was committed."""
        self._sample = self._next
        if self._began_at is None:
            self._began_at = self._clock()

    def has_passed(self) -> bool:
        """Whether the probation has lasted long enough, in seconds and in rows."""
        if self._began_at is None or self._sample.rows < self._policy.min_rows:
            return False
        return self._clock() - self._began_at >= self._policy.seconds

    def figures(self) -> dict[str, float]:
        """The figures of the committed batches."""
        return figures(self._sample, self._reference)


def describe_rejection(marker: Mapping[str, Any]) -> str:
    """A rejection marker as one line of text. Anyone may have written a marker: trust no field."""
    reason = marker.get("reason")
    text = shown(reason) if isinstance(reason, str) else shown(dict(marker))
    by = [f"by {shown(marker['host'])}"] if isinstance(marker.get("host"), str) else []
    at = [f"at {shown(marker['at'])}"] if isinstance(marker.get("at"), str) else []
    source = " ".join([*by, *at])
    return f"{text} ({source})" if source else text
