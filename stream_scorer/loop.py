"""The scorer's loop: poll, score, and commit scores and offsets in one Kafka transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.limits import RejectionGuard
from stream_scorer.model.bundle import Bundle
from stream_scorer.pipeline import Outcome, Pipeline
from stream_scorer.ports import Broker, Polled, Txn

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS: Final = 0.1
_LAST_BACKOFF_SECONDS: Final = 10.0
_MAX_DOUBLINGS: Final = 10


class Step(Enum):
    """What one turn of the loop did."""

    IDLE = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Observer(Protocol):
    """Told what the loop does, for metrics and health."""

    def turned(self) -> None:
        """The loop is alive."""
        ...

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """A batch was committed ``seconds`` after it was polled."""
        ...

    def aborted(self, reason: str) -> None:
        """A transaction was aborted."""
        ...


class ScorerLoop:
    """Turns batches into committed scores. One thread runs it."""

    def __init__(
        self,
        broker: Broker,
        pipeline: Pipeline,
        model: Callable[[], Bundle | None],
        guard: RejectionGuard,
        observer: Observer,
        max_records: int,
        max_wait_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._model = model
        self._guard = guard
        self._observer = observer
        self._max_records = max_records
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._aborts = 0

    def run(self, is_stopping: Callable[[], bool], pause: Callable[[float], None]) -> None:
        """Run until told to stop; the batch at hand is finished first.

        ``pause`` waits for a number of seconds, or less when it is time to stop.
        """
        while not is_stopping():
            if self.run_once() is Step.ABORTED:
                pause(self.backoff())

    def backoff(self) -> float:
        """Seconds to wait before the next try; grows while tries fail."""
        doublings = min(self._aborts - 1, _MAX_DOUBLINGS)  # a double's exponent is bounded
        return min(_FIRST_BACKOFF_SECONDS * 2.0**doublings, _LAST_BACKOFF_SECONDS)

    def run_once(self) -> Step:
        """One turn: at most one batch, which is committed whole or not at all.

        Raises:
            FatalError: the process must end; whatever was not committed will be read again.
        """
        self._observer.turned()
        if self._model() is None:
            return self._failed("no model is loaded yet")
        try:
            polled = self._broker.poll(self._max_records, self._max_wait_seconds)
        except RetryableError as error:
            return self._failed(str(error))
        if polled is None:
            return Step.IDLE
        bundle = self._model()  # once, after the wait: the batch has one version, the newest
        if bundle is None:
            raise FatalError("the model that was loaded is gone")
        started = time.monotonic()
        try:
            outcome = self._pipeline.process(polled, bundle, int(self._clock() * 1000))
        except RetryableError as error:  # a schema registry that does not answer
            self._again(polled)
            return self._failed(str(error))
        self._guard.check(len(polled), outcome.rejections)
        if not self._commit(polled, outcome):
            return Step.ABORTED
        self._aborts = 0
        self._observer.committed(polled, outcome, time.monotonic() - started)
        return Step.COMMITTED

    def _commit(self, polled: Polled, outcome: Outcome) -> bool:
        txn = self._begin()
        try:
            txn.publish(outcome.records)
            txn.commit(polled)
        except RetryableError as error:
            txn.abort(polled)
            self._failed(str(error))
            return False
        self._guard.accept()
        return True

    def _again(self, polled: Polled) -> None:
        # An empty transaction is the one way back to the committed offsets.
        self._begin().abort(polled)

    def _begin(self) -> Txn:
        try:
            return self._broker.begin()
        except RetryableError as error:
            # Without a transaction there is no abort to rewind the batch with, and to go on
            # would be to skip it; a new process reads it again.
            raise FatalError(f"cannot begin a transaction: {error}") from error

    def _failed(self, reason: str) -> Step:
        self._aborts += 1
        self._observer.aborted(reason)
        log.warning("batch put off: %s", reason, extra={"attempt": self._aborts})
        return Step.ABORTED
