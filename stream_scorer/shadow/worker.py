"""The thread that lets the challenger score, and the queue before it.

The loop's thread only asks whether a batch is wanted and puts it into the queue, after its commit.
Neither can raise or wait. The queue is bounded by batches and by bytes; what does not fit is left
out and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from stream_scorer.runtime.text import printable
from stream_scorer.shadow.models import ChallengerEnded, ChallengerFailed, Scored, ShadowModel
from stream_scorer.shadow.ports import ShadowObserver, Shed
from stream_scorer.shadow.scoring import ShadowBatch, has_history_for
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
        max_batches: that wait in the queue.
        max_bytes: that they may hold.
        max_errors: batches in a row that fail before the version is put aside.
        hang_seconds: a batch that takes longer counts as hung.
    """

    max_batches: int = 2
    max_bytes: int = 96 * 1024 * 1024
    max_errors: int = 5
    hang_seconds: float = 30.0


class ShadowWorker:
    """Scores committed batches with the challenger, as far as there is time.

    Args:
        options: how much it may take.
        observer: receives events.
        refusal: why the scorer has no time for a challenger now, or None; called in the loop's
            thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: ShadowOptions,
        observer: ShadowObserver,
        refusal: Callable[[], Shed | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._observer = observer
        self._busy = refusal
        self._clock = clock
        self._challenger: ShadowModel | None = None
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
    def challenger(self) -> ShadowModel | None:
        """What scores in shadow."""
        return self._challenger

    def use(self, model: ShadowModel | None) -> None:
        """Score with ``model`` from now on; None: with none. Batches in the queue are dropped.

        The one before is closed, and so is ``model`` if it may not be used here.
        """
        unwanted = self._is_stopping or self.is_disabled
        if model is not None and (unwanted or model.version in self.put_aside):
            model.close()
            model = None
        with self._changed:
            before, self._challenger = self._challenger, model
            self._errors = 0
            self._clear()
            if model is not None and self._thread is None and not self._is_stopping:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
        if model is not before:
            if before is not None:
                before.close()
            self._observer.loaded(None if model is None else model.version)

    def put_away(self, version: str) -> None:
        """Do not use a version any more; it ends if it is the challenger."""
        self.put_aside |= {version}
        self._observer.refused()
        if self._challenger is not None and self._challenger.version == version:
            self.use(None)

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
            challenger = self._challenger
            self._busy_since = None
            # It drops what it has if it ever returns.
            self._thread = None
            self.is_disabled = True
            self._challenger = None
            self._clear()
        if challenger is not None:
            challenger.close()
        version = challenger.version if challenger else "?"
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
            thread, challenger = self._thread, self._challenger
        if thread is not None:
            thread.join(_STOP_SECONDS)
        if challenger is not None:
            challenger.close()

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
        if outcome.basis is None:
            self._observer.shed(self._refusal() or "queue", outcome.scored)
            return
        if not has_history_for(challenger.history, outcome.basis.bundle):
            self._observer.shed("history", outcome.scored)
            return
        needed = challenger.needs_records(outcome.basis.bundle)
        job = ShadowBatch.of(polled, outcome.basis, with_records=needed)
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
        return self._busy()

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
            rows = job.rows
            try:
                if challenger is not None:
                    found = challenger.score(job)
                    del job  # it is freed as soon as the challenger has it
                    self._count(found, challenger, me)
            except BaseException as error:
                self._failed(rows, challenger, error, me)
            finally:
                with self._changed:
                    if self._thread is me:
                        self._busy_since = None
                    self._changed.notify_all()

    def _count(
        self, scored: Iterator[Scored], challenger: ShadowModel, me: threading.Thread
    ) -> None:
        for found in scored:
            if self._thread is not me or self._challenger is not challenger:
                return  # given up, or replaced: it may not count any more
            self._observer.scored(found.figures, found.seconds)
            if found.not_finite:
                self._observer.failed(found.not_finite)
            if found.lost:
                self._observer.shed("publish", found.lost)
        self._errors = 0

    def _failed(
        self,
        rows: int,
        challenger: ShadowModel | None,
        error: BaseException,
        me: threading.Thread,
    ) -> None:
        if self._thread is not me or challenger is None or self._challenger is not challenger:
            return
        self._observer.failed(rows)
        self._errors += 1
        shown = f"{type(error).__name__}: {error}"
        if isinstance(error, ChallengerFailed | ChallengerEnded):
            shown = str(error)
        reason = printable(shown[:_SHOWN_CHARACTERS])
        if self._errors == 1 and not isinstance(error, ChallengerEnded):
            log.warning(
                "the challenger cannot score a batch: %s", reason,
                extra={"model_version": challenger.version},
            )  # fmt: skip
        has_ended = isinstance(error, ChallengerEnded)
        if self._errors < self._options.max_errors and not has_ended:
            return
        many = f"failed {self._errors} batches in a row and "
        log.error(
            "the challenger %sis put aside: %s", "" if has_ended else many, reason,
            extra={"model_version": challenger.version},
        )  # fmt: skip
        self.put_away(challenger.version)
