"""The restore thread: eras and restores for the loop, which never waits for them.

It has connections of its own. A request is repeated until it succeeds, can never succeed, or is
abandoned because its partition has left.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from stream_scorer.errors import FatalError, ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.runtime.backoff import backoff_seconds
from stream_scorer.state.eras import Eras, EraUnusable, require_spec
from stream_scorer.state.faults import HistoryGap, HistoryMismatch, NewerEra, RestoreAbandoned
from stream_scorer.state.input_log import InputLog
from stream_scorer.state.requests import RestoreRequest, RestoreResult
from stream_scorer.state.restore import PartitionRestore
from stream_scorer.state.stored import StoredStates

log = logging.getLogger(__name__)

Result = Literal["checked", "unchecked", "mismatch", "failed"]

ERA_SECONDS: Final = 30.0
"""How soon a scorer notices a new era, unless a mark names it before."""

_ASKED_SECONDS: Final = 10.0
"""The era of a history that the loop has not asked for lately is not looked for any more."""

_FIRST_RETRY_SECONDS: Final = 0.5
_LAST_RETRY_SECONDS: Final = 30.0
_IDLE_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 5.0


class RestoreObserver(Protocol):
    """Is notified of restores, in their thread."""

    def restored(self, result: Result, seconds: float) -> None:
        """A restore has ended, or an attempt has failed."""
        ...

    def replayed(self, rows: int) -> None:
        """Inputs were replayed."""
        ...

    def damaged_snapshot(self) -> None:
        """A snapshot cannot be used."""
        ...


class NoObserver:
    """Counts nothing."""

    def restored(self, result: Result, seconds: float) -> None:
        """Not counted."""

    def replayed(self, rows: int) -> None:
        """Not counted."""

    def damaged_snapshot(self) -> None:
        """Not counted."""


@dataclass(slots=True)
class _Followed:
    """A history whose era is looked for."""

    bundle: Bundle
    stored: StoredStates
    era: Era | None = None
    problem: ScorerError | None = None
    due: float = 0.0
    failures: int = 0
    asked_at: float = 0.0


@dataclass(slots=True)
class _Queued:
    request: RestoreRequest
    due: float = 0.0
    failures: int = 0


class Restorer:
    """Restores partitions in a thread of its own; the loop's thread calls the first four methods.

    Args:
        store: the artifact store.
        eras: the eras of the input topic.
        open_log: opens the inputs and dead letters; called in the restore thread.
        cache: has snapshots for a start while the store is down.
        check: called before the first era of a history is used; raises if the topics do not keep
            what histories are restored from.
        continues_after_gap: whether a new era begins where inputs are missing.
        observer: is notified of restores.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: HistoryStore,
        eras: Eras,
        open_log: Callable[[], InputLog],
        cache: HistoryCache | None = None,
        *,
        check: Callable[[], None] = lambda: None,
        continues_after_gap: bool = False,
        observer: RestoreObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._eras = eras
        self._open_log = open_log
        self._cache = cache
        self._check = check
        self._continues_after_gap = continues_after_gap
        self._observer = observer or NoObserver()
        self._clock = clock
        self._log: InputLog | None = None
        self._followed: dict[str, _Followed] = {}
        self._queue: list[_Queued] = []
        self._results: deque[RestoreResult] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._may_run = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="history-restore", daemon=True)

    def follow(self, bundle: Bundle) -> Era | None:
        """The newest era known of a bundle's history; it is looked for from now on."""
        spec = require_spec(bundle)
        found = self._followed.get(spec.fingerprint)
        if found is None:
            stored = StoredStates(
                self._store, spec, self._cache, lambda _: self._observer.damaged_snapshot()
            )
            self._followed[spec.fingerprint] = found = _Followed(bundle, stored)
            self._begin()
        found.asked_at = self._clock()
        return found.era

    def problem(self, bundle: Bundle) -> ScorerError | None:
        """Why the era of a bundle's history cannot be used or found."""
        spec = bundle.features.program.history
        found = None if spec is None else self._followed.get(spec.fingerprint)
        return None if found is None else found.problem

    def era(self, bundle: Bundle) -> Era | None:
        """The newest era known of a bundle's history, for any thread; it is not looked for."""
        spec = bundle.features.program.history
        found = None if spec is None else self._followed.get(spec.fingerprint)
        return None if found is None else found.era

    def submit(self, request: RestoreRequest) -> None:
        """Work on a request."""
        with self._lock:
            self._queue.append(_Queued(request))
        self._begin()

    def take(self) -> list[RestoreResult]:
        """The results since the last call."""
        results = []
        while self._results:
            results.append(self._results.popleft())
        return results

    def start(self) -> None:
        """Let the thread start with the first request: processes without history need none."""
        self._may_run = True

    def _begin(self) -> None:
        if self._may_run and not self._is_stopping and not self._thread.is_alive():
            self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """Stop it, without waiting long for a restore in progress."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    # In the restore thread

    def work_once(self) -> bool:
        """Do what is due: look for an era, or work on one request; whether there was anything."""
        now = self._clock()
        for followed in list(self._followed.values()):
            if followed.due <= now <= followed.asked_at + _ASKED_SECONDS:
                self._find_era(followed)
                return True
        queued = self._next(now)
        if queued is None:
            return False
        self._attempt(queued)
        return True

    def _work(self) -> None:
        while not self._is_stopping:
            try:
                if not self.work_once():
                    self._wake.wait(_IDLE_SECONDS)
                    self._wake.clear()
            except Exception:  # last line of defence: without the thread nothing is restored
                log.exception("the restore thread failed and goes on")
                time.sleep(_IDLE_SECONDS)
        if self._log is not None:
            self._log.close()

    def _inputs(self) -> InputLog:
        if self._log is None:
            self._log = self._open_log()
        return self._log

    def _next(self, now: float) -> _Queued | None:
        """The first request that is due; abandoned ones are forgotten."""
        with self._lock:
            self._queue = [q for q in self._queue if not q.request.is_abandoned]
            found = next((q for q in self._queue if q.due <= now), None)
            if found is not None:
                self._queue.remove(found)
            is_last = not self._queue
        if found is None and is_last:
            for followed in self._followed.values():
                followed.stored.forget_seed()
        return found

    def _find_era(self, followed: _Followed) -> None:
        try:
            if followed.era is None:
                self._check()
            era = self._eras.find(followed.bundle, self._inputs())
        except EraUnusable as error:
            followed.problem = FatalError(str(error))
        except ScorerError as error:
            if str(error) != str(followed.problem):
                log.warning("cannot look for the era of the card history: %s", error)
            followed.problem = error
        except Exception as error:
            log.exception("looking for the era of the card history failed")
            followed.problem = ScorerError(f"{type(error).__name__}: {error}")
        else:
            followed.era, followed.problem, followed.failures = era, None, 0
            followed.due = self._clock() + ERA_SECONDS
            return
        followed.failures += 1
        followed.due = self._clock() + _backoff(followed.failures)

    def _attempt(self, queued: _Queued) -> None:
        request = queued.request
        started = self._clock()
        try:
            result = self._restore(request)
        except RestoreAbandoned:
            return
        except HistoryMismatch as error:
            self._observer.restored("mismatch", self._clock() - started)
            result = RestoreResult(request, error=error)
        except FatalError as error:
            self._observer.restored("failed", self._clock() - started)
            result = RestoreResult(request, error=error)
        except Exception as error:
            self._observer.restored("failed", self._clock() - started)
            self._repeat(queued, error)
            return
        else:
            if result.restored is not None:
                self._observer.restored(result.restored.check, self._clock() - started)
                log.info(
                    "history restored",
                    extra={
                        "partition": request.partition,
                        "offset": result.offset,
                        "check": result.restored.check,
                        "replayed": result.restored.rows,
                        "seconds": round(self._clock() - started, 3),
                    },
                )
        self._results.append(result)

    def _restore(self, request: RestoreRequest) -> RestoreResult:
        spec, era, inputs = request.spec, request.era, self._inputs()
        if spec is None or era is None:
            offset = inputs.committed([request.partition])[request.partition].offset
            if offset is None:
                offset = inputs.first_retained(request.partition)
            return RestoreResult(request, offset)
        restore = PartitionRestore(
            spec,
            era,
            self._followed[spec.fingerprint].stored,
            inputs,
            lambda: request.is_abandoned or self._is_stopping,
            self._observer.replayed,
        )
        try:
            restored = restore.restore(request.partition, request.prepared)
        except HistoryGap as gap:
            if self._continues_after_gap:
                self._eras.continue_after(gap, restore)
                self._look_for_era(era)
            raise
        except NewerEra:
            self._look_for_era(era)
            raise
        return RestoreResult(request, restored.state.offset, restored)

    def _look_for_era(self, era: Era) -> None:
        """Look for a newer one now."""
        self._followed[era.spec].due = 0.0

    def _repeat(self, queued: _Queued, error: Exception) -> None:
        queued.failures += 1
        queued.due = self._clock() + _backoff(queued.failures)
        is_known = isinstance(error, ScorerError)
        text = str(error) if is_known else f"{type(error).__name__}: {error}"
        if text != queued.request.problem:
            log.warning(
                "the history of partition %d cannot be restored yet: %s",
                queued.request.partition, text,
                exc_info=None if is_known else error,
            )  # fmt: skip
        queued.request.problem = text
        with self._lock:
            self._queue.append(queued)


def _backoff(failures: int) -> float:
    return backoff_seconds(failures, _FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
