"""The scorer's loop: poll, score, and commit scores and offsets in one Kafka transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.backoff import backoff_seconds
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import NO_MARKS, Broker, Histories, Marks, Polled, Txn
from stream_scorer.stream.rejections.guard import RejectionGuard

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS: Final = 0.1
_LAST_BACKOFF_SECONDS: Final = 10.0
AHEAD_FROM_RECORDS: Final = 64  # in a batch; below, a thread costs more than it gains


class Step(Enum):
    """What one iteration of the loop did."""

    IDLE = auto()
    COMMITTED = auto()
    ABORTED = auto()


class Observer(Protocol):
    """Receives the loop's events, for metrics and health."""

    def heartbeat(self) -> None:
        """The loop is alive; called at the start of each iteration."""
        ...

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """A batch was committed ``seconds`` after it was polled."""
        ...

    def aborted(self, reason: str) -> None:
        """A batch was aborted and will be retried."""
        ...

    def timed(self, step: str, seconds: float) -> None:
        """A step of a batch (score, publish or commit) has finished.

        Called from the thread that ran the step, which may not be the loop's.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """The size of batches, and how long to wait for them.

    Attributes:
        max_records: the largest number of records in a batch.
        max_wait_seconds: how long an idle poll waits for a first record.
        ahead_from_records: the next batch is scored ahead only if this one has at least this many
            records.
    """

    max_records: int
    max_wait_seconds: float
    ahead_from_records: int = AHEAD_FROM_RECORDS


class _Scored(NamedTuple):
    """A batch with its outcome, not yet published."""

    polled: Polled
    outcome: Outcome
    started: float  # monotonic, when it was polled
    marks: Marks  # of its step, taken before the next batch advances the histories


class ScorerLoop:
    """Turns batches into committed scores. One thread runs it.

    Under backlog the next batch is decoded and scored while this one is published and committed
    in a second thread. The order of calls on the broker stays strict: poll, poll ahead, begin …
    commit, poll ahead, begin …; no transaction is held across a poll, each batch commits under
    the fence of its own poll, and when a batch is aborted the one scored ahead is dropped and
    both are read again.

    Where the model has history, the histories' state is that of the inputs before the consumer's
    position: whatever rewinds a batch also rolls its step back, the youngest first.

    Args:
        broker: a member of the consumer group.
        pipeline: scores a batch.
        histories: the current model, and the histories that its batches advance.
        guard: stops the process when too many records are rejected.
        observer: receives the loop's events.
        options: the size of batches.
        refusal: the reason why a scored batch must not be committed but scored again, or None.
            A batch is refused if its model version has failed its guard in the meantime.
        clock: epoch seconds.
    """

    def __init__(
        self,
        broker: Broker,
        pipeline: Pipeline,
        histories: Histories,
        guard: RejectionGuard,
        observer: Observer,
        options: LoopOptions,
        refusal: Callable[[Outcome], str | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._histories = histories
        self._guard = guard
        self._observer = observer
        self._options = options
        self._refusal = refusal
        self._clock = clock
        self.in_flight = 0
        """Records polled and not committed yet; safe to read from any thread."""
        self._aborts = 0
        self._ahead: _Scored | None = None
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")

    def run(
        self,
        is_stopping: Callable[[], bool],
        pause: Callable[[float], None],
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        """Run until ``is_stopping``, then commit the batch that was scored ahead.

        Args:
            is_stopping: checked before each iteration.
            pause: waits for a number of seconds, or less if the process is stopping.
            after_each: called in this thread after each iteration.
        """
        while not is_stopping():
            if self.run_once() is Step.ABORTED:
                pause(self.backoff())
            after_each()
        self.finish()

    def backoff(self) -> float:
        """Seconds to wait before the next attempt; doubles with each failure, up to a limit."""
        return backoff_seconds(self._aborts, _FIRST_BACKOFF_SECONDS, _LAST_BACKOFF_SECONDS)

    def run_once(self) -> Step:
        """Run one iteration: at most one batch, which is committed completely or not at all.

        Raises:
            FatalError: the process must end; records that were not committed will be redelivered.
        """
        self._observer.heartbeat()
        batch, self._ahead = self._ahead, None
        if batch is None:
            polled = self._poll(self._options.max_wait_seconds)
            if not isinstance(polled, Polled):
                return polled
            self.in_flight = len(polled)
            scored = self._score(polled, None)
            if not isinstance(scored, _Scored):
                return scored
            batch = scored
        refusal = self._refusal(batch.outcome)
        if refusal is not None:  # before the guard counts its rejections: the model caused them
            self._drop(batch)
            return self._failed(refusal)
        try:
            self._guard.check(len(batch.polled), batch.outcome.rejections)
        except RetryableError as error:  # the stored counts cannot be read or written now
            self._drop(batch)
            return self._failed(str(error))
        following = self._poll_ahead(batch.polled)
        self.in_flight = len(batch.polled) + (len(following) if following else 0)
        step = self._commit(batch, following)
        self.in_flight = len(self._ahead.polled) if self._ahead else 0
        return step

    def finish(self) -> None:
        """Commit the batch that was scored ahead, without polling again."""
        batch, self._ahead = self._ahead, None
        if batch is not None:
            self._finish(batch)
        self._committer.shutdown()

    def _finish(self, batch: _Scored) -> None:
        if self._refusal(batch.outcome) is None:
            try:
                self._guard.check(len(batch.polled), batch.outcome.rejections)
            except RetryableError as error:
                log.info("the last batch is not committed: %s", error)
            else:
                self._commit(batch, None)
                return
        self._drop(batch)  # its next owner reads it again

    def _poll(self, timeout: float) -> Polled | Step:
        try:
            self._histories.serve(None)
            if self._histories.model() is None:
                return self._failed("no model is loaded yet")
            polled = self._broker.poll(self._options.max_records, timeout)
        except RetryableError as error:
            return self._failed(str(error))
        return Step.IDLE if polled is None else polled

    def _poll_ahead(self, polled: Polled) -> Polled | None:
        """Records that have already arrived, if a backlog is likely.

        Called before the transaction begins.
        """
        if len(polled) < self._options.ahead_from_records:
            return None
        try:
            self._histories.serve(polled)
            return self._broker.poll(self._options.max_records, 0)
        except RetryableError as error:
            log.info("cannot poll ahead: %s", error)
            return None

    def _score(self, polled: Polled, uncommitted: Polled | None) -> _Scored | Step:
        """Score a batch; ``uncommitted`` is the previous one, while another thread commits it."""
        # Once, after the wait: one version scores the batch, the newest.
        bundle = self._histories.model()
        if bundle is None:
            raise FatalError("the loaded model has disappeared")
        started = time.monotonic()
        try:
            now_ms = int(self._clock() * 1000)
            outcome = self._pipeline.process(polled, bundle, now_ms, self._histories)
        except RetryableError as error:  # the schema registry does not answer
            if uncommitted is None:
                self._broker.rewind(polled)
            return self._failed(str(error))
        self._observer.timed("score", time.monotonic() - started)
        marks = NO_MARKS if outcome.step is None else outcome.step.marks
        return _Scored(polled, outcome, started, marks)

    def _roll_back(self, batch: _Scored | Step | None) -> None:
        """Undo what a batch did to the histories; the caller rewinds it before the next poll."""
        if isinstance(batch, _Scored) and batch.outcome.step is not None:
            self._histories.rollback(batch.outcome.step)

    def _drop(self, batch: _Scored) -> None:
        """Read a batch again that no transaction has begun for."""
        self._roll_back(batch)
        self._broker.rewind(batch.polled)

    def _commit(self, batch: _Scored, following: Polled | None) -> Step:
        """Publish and commit ``batch`` while scoring ``following`` for the next iteration."""
        try:
            txn = self._broker.begin()
        except RetryableError as error:
            self._roll_back(batch)
            self._broker.rewind(batch.polled, *([following] if following else []))
            return self._failed(f"cannot begin a transaction: {error}")
        if following is None:
            problem = self._publish(txn, batch)
            if problem is None:
                return self._committed(batch)
            self._roll_back(batch)
            txn.abort(batch.polled)
            return self._failed(problem)
        publishing = self._committer.submit(self._publish, txn, batch)
        try:
            ahead = self._score(following, batch.polled)
        finally:
            problem = publishing.result()
        if problem is not None:
            # Committing the batch scored ahead would now skip this one: both are read again.
            self._roll_back(ahead)
            self._roll_back(batch)
            txn.abort(batch.polled, following)
            return self._failed(problem)
        step = self._committed(batch)
        if isinstance(ahead, _Scored):
            self._ahead = ahead
        else:
            self._broker.rewind(following)
            step = ahead
        return step

    def _committed(self, batch: _Scored) -> Step:
        if batch.outcome.step is not None:
            self._histories.committed(batch.outcome.step)
        self._guard.accept()
        self._aborts = 0
        self._observer.committed(batch.polled, batch.outcome, time.monotonic() - batch.started)
        return Step.COMMITTED

    def _publish(self, txn: Txn, batch: _Scored) -> str | None:
        """Publish and commit; the reason to abort the batch, or None if it was committed."""
        started = time.monotonic()
        try:
            txn.publish(batch.outcome.records)
            published = time.monotonic()
            txn.commit(batch.polled, batch.marks)
        except RetryableError as error:
            return str(error)
        self._observer.timed("publish", published - started)
        self._observer.timed("commit", time.monotonic() - published)
        return None

    def _failed(self, reason: str) -> Step:
        self._aborts += 1
        self.in_flight = 0
        self._observer.aborted(reason)
        log.warning("batch aborted, will be retried: %s", reason, extra={"attempt": self._aborts})
        return Step.ABORTED
