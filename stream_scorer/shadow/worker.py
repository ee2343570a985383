"""The thread that scores with the challenger, and the queue before it.

The loop's thread only asks whether a batch is wanted and puts it into the queue, after its commit.
Neither can raise or wait. The queue is bounded by batches and by bytes; what does not fit is left
out and counted. numba's loops release the GIL, so that on a free core they take nothing from the
loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.runtime.text import printable
from stream_scorer.shadow.ports import ShadowObserver, ShadowSink, Shed
from stream_scorer.shadow.scoring import ShadowBatch, encode, has_history_for, score_batch
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled

log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 1.0
_SHOWN_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class ShadowOptions:
    """How much a challenger may take.

    Attributes:
        share: of the transactions, scored by the challenger.
        max_batches: that wait in the queue.
        max_bytes: that they may hold.
        max_errors: batches in a row that fail before the version is put aside.
        hang_seconds: a batch that takes longer counts as hung.
    """

    share: float = 1.0
    max_batches: int = 4
    max_bytes: int = 96 * 1024 * 1024
    max_errors: int = 5
    hang_seconds: float = 30.0


class ShadowWorker:
    """Scores committed batches with the challenger, as far as there is time.

    Args:
        options: how much it may take.
        sink: where the scores go.
        observer: receives events.
        decoder: of its own, for challengers that read other columns than the champion.
        is_behind: whether the scorer has a backlog; called in the loop's thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: ShadowOptions,
        sink: ShadowSink,
        observer: ShadowObserver,
        decoder: TransactionDecoder,
        is_behind: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._sink = sink
        self._observer = observer
        self._decoder = decoder
        self._is_behind = is_behind
        self._clock = clock
        self._challenger: Bundle | None = None
        self._queue: deque[ShadowBatch] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._is_stopping = False
        self._errors = 0
        self._busy_since: float | None = None
        self._thread: threading.Thread | None = None
        self.put_aside: frozenset[str] = frozenset()
        """Versions that failed here; they are not used again."""
        self.is_disabled = False
        """A challenger hung: none scores here until the process is restarted."""

    @property
    def challenger(self) -> Bundle | None:
        """The bundle that scores in shadow."""
        return self._challenger

    def use(self, bundle: Bundle | None) -> None:
        """Score with ``bundle`` from now on; None: with none. Batches in the queue are dropped."""
        if self.is_disabled or (bundle is not None and bundle.version in self.put_aside):
            bundle = None
        with self._changed:
            before, self._challenger = self._challenger, bundle
            self._errors = 0
            self._clear()
            if bundle is not None and self._thread is None and not self._is_stopping:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
        if bundle is not before:
            self._observer.loaded(None if bundle is None else bundle.version)

    def wants(self) -> bool:
        """Whether a batch that is scored now may be offered; the loop's thread asks, cheaply."""
        try:
            return self._challenger is not None and self._refusal() is None
        except Exception:  # nothing here may end the loop
            log.exception("the challenger's queue failed")
            return False

    def offer(self, polled: Polled, outcome: Outcome) -> None:
        """Queue a batch whose commit was sent, or leave it out; never raises, never waits."""
        try:
            self._offer(polled, outcome)
        except Exception:  # nothing here may end the loop
            log.exception("the challenger's queue failed")

    def check(self) -> None:
        """Notice a challenger that hangs, and give it up; called now and then by any thread."""
        with self._changed:
            since = self._busy_since
            if since is None or self._clock() - since <= self._options.hang_seconds:
                return
            version = self._challenger.version if self._challenger else "?"
            self._busy_since = None
            # The thread cannot be ended. It drops what it has if it ever returns.
            self._thread = None
            self.is_disabled = True
            self._challenger = None
            self._clear()
        log.error(
            "the challenger hung for %g s and is given up; no challenger scores in this process "
            "until it is restarted", self._options.hang_seconds, extra={"model_version": version},
        )  # fmt: skip
        self._observer.disabled()
        self._observer.loaded(None)

    def stop(self) -> None:
        """Stop after the batch at hand, or without it after a second."""
        with self._changed:
            self._is_stopping = True
            self._clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(_STOP_SECONDS)

    def wait_idle(self, seconds: float) -> bool:
        """Wait until the queue is empty and nothing is being scored; for tests and benchmarks."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._queue and self._busy_since is None, seconds
            )

    def _offer(self, polled: Polled, outcome: Outcome) -> None:
        challenger = self._challenger
        if challenger is None or challenger.version == outcome.model_version:
            return
        self.check()
        if outcome.basis is None:
            self._observer.shed(self._refusal() or "queue", outcome.scored)
            return
        if not has_history_for(challenger, outcome.basis.bundle):
            self._observer.shed("history", outcome.scored)
            return
        job = ShadowBatch(polled, outcome.basis)
        if (reason := self._refusal(job.nbytes)) is not None:
            self._observer.shed(reason, outcome.scored)
            return
        with self._changed:
            if self._challenger is not None and not self._is_stopping:
                self._queue.append(job)
                self._bytes += job.nbytes
                self._changed.notify_all()

    def _refusal(self, more_bytes: int = 0) -> Shed | None:
        """Why a batch is left out now."""
        options = self._options
        is_full = len(self._queue) >= options.max_batches
        if is_full or self._bytes + more_bytes > options.max_bytes:
            return "queue"
        return "behind" if self._is_behind() else None

    def _clear(self) -> None:
        self._queue.clear()
        self._bytes = 0
        self._changed.notify_all()

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                while not self._queue and not self._is_stopping and self._thread is me:
                    self._changed.wait(_IDLE_SECONDS)
                if self._is_stopping or self._thread is not me:
                    return
                job, challenger = self._queue.popleft(), self._challenger
                self._bytes -= job.nbytes
                self._busy_since = self._clock()
            try:
                if challenger is not None:
                    self._score(job, challenger, me)
            except BaseException as error:
                self._failed(job, challenger, error, me)
            finally:
                del job
                with self._changed:
                    if self._thread is me:
                        self._busy_since = None
                    self._changed.notify_all()

    def _score(self, job: ShadowBatch, challenger: Bundle, me: threading.Thread) -> None:
        begun = time.perf_counter()
        for found in score_batch(job, challenger, self._options.share, self._decoder):
            seconds = time.perf_counter() - begun
            if self._thread is not me or self._challenger is not challenger:
                return  # given up, or replaced: it may not publish or count any more
            self._observer.scored(found.figures, seconds)
            if found.not_finite:
                self._observer.failed(found.not_finite)
            if (head := self._sink.head()) is not None:
                now_ms = int(time.time() * 1000)
                records = encode(head, self._sink.topic, job.polled, found, challenger, now_ms)
                if left := self._sink.send(records):
                    self._observer.shed("publish", left)
            begun = time.perf_counter()
        self._errors = 0

    def _failed(
        self,
        job: ShadowBatch,
        challenger: Bundle | None,
        error: BaseException,
        me: threading.Thread,
    ) -> None:
        if self._thread is not me or challenger is None or self._challenger is not challenger:
            return
        self._observer.failed(job.rows)
        self._errors += 1
        reason = printable(f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS])
        if self._errors == 1:
            log.warning(
                "the challenger cannot score a batch: %s", reason,
                extra={"model_version": challenger.version},
            )  # fmt: skip
        if self._errors < self._options.max_errors:
            return
        self.put_aside |= {challenger.version}
        log.error(
            "the challenger failed %d batches in a row and is put aside: %s", self._errors, reason,
            extra={"model_version": challenger.version},
        )  # fmt: skip
        self._observer.refused()
        self.use(None)
