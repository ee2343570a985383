"""The thread that hands batches to the challenger and counts its answers.

The loop's thread only asks whether a batch is wanted and offers it, after its commit. Neither can
raise or wait. What waits is bounded by batches and by bytes; what does not fit is left out and
counted.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream_scorer.runtime.text import printable
from stream_scorer.shadow.models import Answer, ShadowModel
from stream_scorer.shadow.ports import ShadowObserver, Shed
from stream_scorer.shadow.scoring import ShadowBatch, has_history_for
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled

log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 1.0
_SHOWN_CHARACTERS: Final = 300
_CRASHES: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


@dataclass(frozen=True, slots=True)
class ShadowOptions:
    """How much a challenger may take.

    Attributes:
        max_batches: that wait.
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
        self._changed = threading.Condition()
        self._is_stopping = False
        self._errors = 0
        self._counted = 0
        self._progress = 0, 0.0  # answers of the challenger, and when that was seen
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
        """Score with ``model`` from now on; None: with none. Batches that wait are dropped.

        The one before is closed, and so is ``model`` if it may not be used here.
        """
        unwanted = self._is_stopping or self.is_disabled
        if model is not None and (unwanted or model.version in self.put_aside):
            model.close()
            model = None
        with self._changed:
            before, self._challenger = self._challenger, model
            self._errors = self._counted = 0
            self._changed.notify_all()
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
        """Offer a batch whose commit was sent, or leave it out; never raises, never waits."""
        try:
            self._offer(polled, outcome)
        except Exception:  # nothing here may end the loop
            log.exception("the challenger's queue failed")

    def check(self) -> None:
        """Notice a challenger that hangs, and give it up; called now and then by any thread."""
        with self._changed:
            challenger = self._challenger
            if challenger is None or not self._is_late(challenger):
                return
            # It drops what it has if it ever returns.
            self._thread = None
            self.is_disabled = True
            self._challenger = None
            self._changed.notify_all()
        challenger.close()
        log.error(
            "the challenger hung for %g s and is given up; no challenger scores in this process "
            "until it is restarted", self._options.hang_seconds,
            extra={"model_version": challenger.version},
        )  # fmt: skip
        self._observer.disabled()
        self._observer.loaded(None)

    def stop(self) -> None:
        """Stop once what was offered is scored, or without it after a second."""
        with self._changed:
            self._is_stopping = True
            challenger, thread = self._challenger, self._thread
            self._changed.wait_for(self._is_idle, _STOP_SECONDS)
        if challenger is not None:
            challenger.close()
        if thread is not None:
            thread.join(_STOP_SECONDS)

    def wait_idle(self, seconds: float) -> bool:
        """Wait until everything that was offered is counted; for tests and benchmarks."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, seconds)

    def _is_idle(self) -> bool:
        return self._challenger is None or self._counted >= self._challenger.offered

    def _is_late(self, challenger: ShadowModel) -> bool:
        """Whether it has been at work on the same batch for too long."""
        now, answered = self._clock(), challenger.answered
        if answered == challenger.offered or answered != self._progress[0]:
            self._progress = answered, now
        return now - self._progress[1] > self._options.hang_seconds

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
        job = ShadowBatch(polled, outcome.basis)
        if (reason := self._refusal(job.nbytes)) is not None:
            self._observer.shed(reason, outcome.scored)
            return
        with self._changed:
            if self._challenger is not challenger or self._is_stopping:
                return
            if challenger.answered == challenger.offered:
                self._progress = challenger.answered, self._clock()
            left_out = challenger.offer(job)
        if left_out:
            self._observer.shed("queue", left_out)

    def _refusal(self, more_bytes: int = 0) -> Shed | None:
        """Why a batch is left out now."""
        options, challenger = self._options, self._challenger
        batches, size = (0, 0) if challenger is None else challenger.waiting()
        if batches >= options.max_batches or size + more_bytes > options.max_bytes:
            return "queue"
        return self._busy()

    def _run(self) -> None:
        me = threading.current_thread()
        # None interrupts a call, but for those of a crash.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _CRASHES)
        while True:
            with self._changed:
                while self._challenger is None and not self._is_stopping and self._thread is me:
                    self._changed.wait(_IDLE_SECONDS)
                challenger = self._challenger
                if challenger is None or self._thread is not me:
                    return
            answers: list[Answer] = []
            try:
                answers = challenger.collect(_IDLE_SECONDS)
                for answer in answers:
                    if self._thread is not me or self._challenger is not challenger:
                        break  # given up, or replaced: it may not count any more
                    self._count(answer, challenger)
            except Exception:  # a challenger that cannot be read is as bad as one that raises
                log.exception("the challenger's answers cannot be read")
                self.put_away(challenger.version)
            with self._changed:
                if self._challenger is challenger:
                    self._counted += len(answers)
                self._changed.notify_all()
            if not answers and self._is_stopping:
                return

    def _count(self, answer: Answer, challenger: ShadowModel) -> None:
        if answer.error is not None:
            self._failed(answer, challenger)
            return
        for found in answer.scored:
            self._observer.scored(found.figures, found.seconds)
            if found.not_finite:
                self._observer.failed(found.not_finite)
            if found.lost:
                self._observer.shed("publish", found.lost)
        self._errors = 0

    def _failed(self, answer: Answer, challenger: ShadowModel) -> None:
        self._observer.failed(answer.rows)
        self._errors += 1
        reason = printable((answer.error or "")[:_SHOWN_CHARACTERS])
        if self._errors == 1 and not answer.has_ended:
            log.warning(
                "the challenger cannot score a batch: %s", reason,
                extra={"model_version": challenger.version},
            )  # fmt: skip
        if self._errors < self._options.max_errors and not answer.has_ended:
            return
        many = f"failed {self._errors} batches in a row and "
        log.error(
            "the challenger %sis put aside: %s", "" if answer.has_ended else many, reason,
            extra={"model_version": challenger.version},
        )  # fmt: skip
        self.put_away(challenger.version)
