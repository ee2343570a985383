"""Passes the loop's events on, and offers each committed batch to the challenger."""

from __future__ import annotations

from stream_scorer.shadow.worker import ShadowWorker
from stream_scorer.stream.loop import Observer
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled


class ShadowingObserver:
    """An observer of the loop around another one, which sees each event first."""

    def __init__(self, inner: Observer, worker: ShadowWorker) -> None:
        self._inner = inner
        self._worker = worker

    def heartbeat(self) -> None:
        """The loop is alive."""
        self._inner.heartbeat()

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """A batch was committed; only now does the challenger see it."""
        self._inner.committed(polled, outcome, seconds)
        self._worker.offer(polled, outcome)

    def aborted(self, reason: str) -> None:
        """A batch was aborted and will be retried."""
        self._inner.aborted(reason)

    def timed(self, step: str, seconds: float) -> None:
        """A step of a batch has finished."""
        self._inner.timed(step, seconds)
