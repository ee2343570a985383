"""The scorer's loop: poll, score, and commit scores and offsets in one Kafka transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.model.bundle import Bundle
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Broker, Polled, Txn
from stream_scorer.stream.rejection_guard import RejectionGuard

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS: Final = 0.1
_LAST_BACKOFF_SECONDS: Final = 10.0
_MAX_DOUBLINGS: Final = 10
AHEAD_FROM_RECORDS: Final = 64  # in a batch; below, a thread costs more than it gains


class Step(Enum):
    """What one turn of the loop did."""

    IDLE = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Observer(Protocol):
    """Told what the loop does, for metrics and health."""

    def heartbeat(self) -> None:
        """The loop is alive."""
        ...

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """A batch was committed ``seconds`` after it was polled."""
        ...

    def aborted(self, reason: str) -> None:
        """A transaction was aborted."""
        ...


class _Scored(NamedTuple):
    """A batch with its outcome, not yet published."""

    polled: Polled
    outcome: Outcome
    started: float  # monotonic, when it was polled


class ScorerLoop:
    """Turns batches into committed scores. One thread runs it.

    Under backlog the next batch is decoded and scored while this one is published and committed
    in a second thread. The order of calls on the broker stays strict: poll, poll ahead, begin …
    commit, poll ahead, begin …; no transaction is held across a poll, each batch commits under
    the fence of its own poll, and when a batch is aborted the one scored ahead is dropped and
    read again with it. ``refusal`` says why a batch must not be committed but scored again, if
    so: its model was found out meanwhile. ``timed(step, seconds)`` is told what the steps of a
    batch took (score, publish, commit), from the thread that did them.
    """

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
        ahead_from_records: int = AHEAD_FROM_RECORDS,
        refusal: Callable[[Outcome], str | None] = lambda _: None,
        timed: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._model = model
        self._guard = guard
        self._observer = observer
        self._max_records = max_records
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._ahead_from_records = ahead_from_records
        self._refusal = refusal
        self._timed = timed
        self.in_flight = 0
        """Records polled and not committed yet; any thread may look."""
        self._aborts = 0
        self._ahead: _Scored | None = None
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")

    def run(self, is_stopping: Callable[[], bool], pause: Callable[[float], None]) -> None:
        """Run until told to stop; the batches at hand are finished first.

        ``pause`` waits for a number of seconds, or less when it is time to stop.
        """
        while not is_stopping():
            if self.run_once() is Step.ABORTED:
                pause(self.backoff())
        self.finish()

    def backoff(self) -> float:
        """Seconds to wait before the next try; grows while tries fail."""
        doublings = min(self._aborts - 1, _MAX_DOUBLINGS)  # a double's exponent is bounded
        return min(_FIRST_BACKOFF_SECONDS * 2.0**doublings, _LAST_BACKOFF_SECONDS)

    def run_once(self) -> Step:
        """One turn: at most one batch, which is committed whole or not at all.

        Raises:
            FatalError: the process must end; whatever was not committed will be read again.
        """
        self._observer.heartbeat()
        batch, self._ahead = self._ahead, None
        if batch is None:
            polled = self._poll(self._max_wait_seconds)
            if not isinstance(polled, Polled):
                return polled
            self.in_flight = len(polled)
            scored = self._score(polled, None)
            if not isinstance(scored, _Scored):
                return scored
            batch = scored
        refusal = self._refusal(batch.outcome)
        if refusal is not None:  # before its rejections count: they are the model's
            self._again(batch.polled)
            self.in_flight = 0
            return self._failed(refusal)
        self._guard.check(len(batch.polled), batch.outcome.rejections)
        following = self._poll_ahead(batch.polled)
        self.in_flight = len(batch.polled) + (len(following) if following else 0)
        step = self._commit(batch, following)
        self.in_flight = len(self._ahead.polled) if self._ahead else 0
        return step

    def finish(self) -> None:
        """Commit what was scored ahead; nothing new is polled."""
        batch, self._ahead = self._ahead, None
        if batch is not None and self._refusal(batch.outcome) is None:
            self._guard.check(len(batch.polled), batch.outcome.rejections)
            self._commit(batch, None)
        self._committer.shutdown()

    def _poll(self, timeout: float) -> Polled | Step:
        if self._model() is None:
            return self._failed("no model is loaded yet")
        try:
            polled = self._broker.poll(self._max_records, timeout)
        except RetryableError as error:
            return self._failed(str(error))
        return Step.IDLE if polled is None else polled

    def _poll_ahead(self, polled: Polled) -> Polled | None:
        """What is there already, if a backlog is likely; before the transaction begins."""
        if len(polled) < self._ahead_from_records:
            return None
        try:
            return self._broker.poll(self._max_records, 0)
        except RetryableError as error:
            log.info("cannot poll ahead: %s", error)
            return None

    def _score(self, polled: Polled, uncommitted: Polled | None) -> _Scored | Step:
        """Score a batch; ``uncommitted`` is the one before it, whose fate is another thread's."""
        bundle = self._model()  # once, after the wait: the batch has one version, the newest
        if bundle is None:
            raise FatalError("the model that was loaded is gone")
        started = time.monotonic()
        try:
            outcome = self._pipeline.process(polled, bundle, int(self._clock() * 1000))
        except RetryableError as error:  # a schema registry that does not answer
            if uncommitted is None:
                self._again(polled)
            return self._failed(str(error))
        self._timed("score", time.monotonic() - started)
        return _Scored(polled, outcome, started)

    def _commit(self, batch: _Scored, following: Polled | None) -> Step:
        """Publish and commit ``batch``; meanwhile score ``following``, which is kept for later."""
        txn = self._begin()
        if following is None:
            problem = self._publish(txn, batch)
            if problem is None:
                return self._committed(batch)
            txn.abort(batch.polled)
            return self._failed(problem)
        publishing = self._committer.submit(self._publish, txn, batch)
        try:
            ahead = self._score(following, batch.polled)
        finally:
            problem = publishing.result()
        if problem is not None:
            # Committing what was scored ahead would now skip this batch: both come again.
            txn.abort(batch.polled, following)
            return self._failed(problem)
        step = self._committed(batch)
        if isinstance(ahead, _Scored):
            self._ahead = ahead
        else:
            self._again(following)
            step = ahead
        return step

    def _committed(self, batch: _Scored) -> Step:
        self._guard.accept()
        self._aborts = 0
        self._observer.committed(batch.polled, batch.outcome, time.monotonic() - batch.started)
        return Step.COMMITTED

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

    def _publish(self, txn: Txn, batch: _Scored) -> str | None:
        """Publish and commit; why it must be aborted, if it must."""
        started = time.monotonic()
        try:
            txn.publish(batch.outcome.records)
            published = time.monotonic()
            txn.commit(batch.polled)
        except RetryableError as error:
            return str(error)
        self._timed("publish", published - started)
        self._timed("commit", time.monotonic() - published)
        return None

    def _failed(self, reason: str) -> Step:
        self._aborts += 1
        self.in_flight = 0
        self._observer.aborted(reason)
        log.warning("batch put off: %s", reason, extra={"attempt": self._aborts})
        return Step.ABORTED
