"""Hot reload: watches the store's pointer and keeps the newest verified bundle loaded.

The watcher's own thread fetches a new version, verifies it and scores its golden rows. Only then
does ``current`` change, by one assignment. A caller that reads ``current`` once per batch scores
the whole batch with one version.

With a guard, a version that takes over starts on probation, and the previous version stays loaded.
Only the pointer's version can be on probation: the version it falls back to has already passed, or
served before the promotion. So a drift of the input can roll back the newest version, but never
the one before it as well.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace
from typing import Any, Final

from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.fallback import Fallbacks
from stream_scorer.model.serving.guard import Trip
from stream_scorer.model.serving.loader import Loaded, Loader
from stream_scorer.model.serving.options import OnFailure, OnLoad, OnTrip, WatcherOptions
from stream_scorer.model.serving.probation import Probation, describe_rejection
from stream_scorer.model.serving.promotion_note import PromotionNotes
from stream_scorer.model.serving.status import FallBack, ReloadStatus
from stream_scorer.model.serving.verdicts import Verdicts
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.succession import find_succession

log = logging.getLogger(__name__)

_JITTER: Final = 0.1  # share of the poll interval by which pods spread their requests
_FIRST_RETRY_SECONDS: Final = 1.0  # without a model, retry soon after the store recovers
_DEFAULTS: Final = WatcherOptions()


class ModelWatcher:
    """Keeps :attr:`current` at the promoted version, or at the last good one when that fails.

    ``on_load(version, seconds)`` and ``on_failure(version, reason)`` are called from the watcher's
    thread, for metrics. A version that fails to load is reported once, even though the load is
    retried. ``on_trip(version, trip)`` is called from the thread whose batch tripped the guard.
    """

    def __init__(
        self,
        store: ArtifactStore,
        cache: BundleCache,
        options: WatcherOptions = _DEFAULTS,
        *,
        on_load: OnLoad | None = None,
        on_failure: OnFailure | None = None,
        on_trip: OnTrip | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._options = options
        self._on_load = on_load
        self._on_trip = on_trip
        self._loader = Loader(
            store, options.trusted_keys, options.retry_refused_seconds, on_failure
        )
        self._fallbacks = Fallbacks(self._load)
        self._promotion_notes = PromotionNotes(store)
        self._current: Bundle | None = None
        self._status = ReloadStatus(refused={})
        self._unloadable: set[str] = set()  # cached versions whose load error was logged
        self._rejected: dict[str, dict[str, Any]] = {}
        self._knows_rejected = False  # the store has told which versions are rejected
        self._verdicts = Verdicts(store)
        self._probation: Probation | None = None
        self._lock = (
            threading.RLock()
        )  # guards current, probation and status: two threads change them
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)

    @property
    def current(self) -> Bundle | None:
        """The bundle to score with now; None until the first one is loaded."""
        return self._current

    @property
    def status(self) -> ReloadStatus:
        """The watcher's state, for health pages."""
        return self._status

    @property
    def probation(self) -> Probation | None:
        """The serving version's probation; None when it is not on probation."""
        return self._probation

    def is_withdrawn(self, version: str) -> bool:
        """Whether ``version`` was rejected and another version serves instead."""
        is_rejected = version in self._rejected or version in self._verdicts.pending
        current = self._current
        return is_rejected and current is not None and current.version != version

    def fall_back(self, probation: Probation, trip: Trip) -> None:
        """Serve the previous version at once; the watcher writes the rejection to the store later.

        The scoring thread calls this, so it touches no file and no socket.
        """
        version, fallback = probation.version, probation.fallback
        with self._lock:
            if self._probation is not probation:
                return  # already over: passed, tripped before, or replaced by another version
            self._probation = None
            self._verdicts.reject(version, trip, fallback.version)
            self._current = fallback
            self._note(rolled_back=FallBack(version, fallback.version, trip.reason))
        log.error(
            "model guard tripped: %s rolled back to %s: %s", version, fallback.version, trip.reason,
            extra={"model_version": fallback.version, "rejected": version, **trip.figures},
        )  # fmt: skip
        if self._on_trip:
            self._on_trip(version, trip)
        if self._on_load:
            self._on_load(fallback.version, 0.0)
        self._wake.set()

    def start(self) -> None:
        """Start watching in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns when the thread has ended, or after five seconds."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def wait(self, timeout: float) -> Bundle | None:
        """The first bundle, waiting up to ``timeout`` seconds for it."""
        self._loaded.wait(timeout)
        return self._current

    def tick(self) -> None:
        """Check the store once and load a new version; never raises for a bad store or bundle."""
        try:
            problem = self._follow()
        except StoreError as error:
            problem = f"artifact store: {error}"
        if problem is not None and problem != self._status.problem:
            log.warning("%s", problem)
        note = self._promotion_notes.find(self._current, self._rejected)
        self._note(problem=problem, promotion_note=note)
        if self._current is None:
            self._load_cached()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:  # last line of defence: a dead watcher would never reload
                log.exception("model watcher failed")
            pause = self._options.poll_seconds
            if self._current is None:
                pause = min(pause, _FIRST_RETRY_SECONDS)
            self._wake.wait(pause * (1 + random.uniform(-_JITTER, _JITTER)))
            self._wake.clear()

    def _follow(self) -> str | None:
        """Serve the version the pointer names; returns the problem, if any.

        Raises:
            StoreError: the store did not answer.
        """
        problem = self._verdicts.publish(self._cache.forget)
        self._learn_rejected()
        pointer = self._store.current()
        if pointer is None:
            self._note(checked_at=time.monotonic(), rolled_back=None)
            return "no version is promoted yet: run fraud-trainer train"
        self._note(checked_at=time.monotonic(), promoted=pointer.version)
        if pointer.version not in self._rejected:
            self._note(rolled_back=None)
            return self._serve(pointer.version) or self._end_probation() or problem
        return self._serve_another(pointer) or problem

    def _learn_rejected(self) -> None:
        """Ask the store which versions are rejected; the cache must not bring them back.

        Raises:
            StoreError: the store did not answer.
        """
        known, self._rejected = self._rejected, self._verdicts.added_to(self._store.rejected())
        self._knows_rejected = True
        for version in self._rejected.keys() - known.keys():
            self._cache.forget(version)

    def _serve_another(self, pointer: Pointer) -> str | None:
        """Serve the last good version before the rejected one; the store alone decides which."""
        succession = find_succession(self._store, pointer.version, self._rejected)
        found = self._fallbacks.find(succession, self._current)
        if found is not None:
            bundle, loaded = found
            if loaded is not None:
                self._cache.save(bundle.version, loaded.files)
                self._swap(bundle, loaded.seconds, None)
            self._note_rollback(pointer.version, bundle.version)
            return None
        serving = self._current.version if self._current else None
        self._note_rollback(pointer.version, serving)
        return f"version {pointer.version} is rejected, and no previous version can be served"

    def _note_rollback(self, rejected: str, serving: str | None) -> None:
        reason = describe_rejection(self._rejected[rejected])
        before = self._status.rolled_back
        self._note(rolled_back=FallBack(rejected, serving, reason))
        if before is None or before.rejected != rejected:
            log.warning(
                "the promoted version %s is rejected: %s", rejected, reason,
                extra={"model_version": serving, "rejected": rejected},
            )  # fmt: skip

    def _serve(self, version: str) -> str | None:
        """Make the promoted version the current one; returns why it cannot be, if so."""
        if self._current is not None and self._current.version == version:
            if self._probation is None:
                self._probation = self._begin_probation(self._current)
            return None
        loaded = self._load(version)
        if loaded is None:
            return self._loader.refusal(version)
        probation = self._begin_probation(loaded.bundle)
        self._cache.save(version, loaded.files)
        self._swap(loaded.bundle, loaded.seconds, probation)
        return None

    def _begin_probation(self, bundle: Bundle) -> Probation | None:
        """A probation if the version is new and there is a version to fall back to.

        Raises:
            StoreError: the store did not answer.
        """
        if self._options.guard is None or self._verdicts.is_decided(bundle.version):
            return None
        succession = find_succession(self._store, bundle.version, self._rejected)
        # Without a history, the version promoted when this process starts has served before.
        is_new = succession.is_recorded or (
            self._current is not None and self._current.version != bundle.version
        )
        if is_new and not self._verdicts.is_accepted(bundle.version):
            found = self._fallbacks.find(succession, self._current)
            if found is not None:
                fallback = found[0]
                log.info(
                    "model on probation",
                    extra={"model_version": bundle.version, "fallback": fallback.version},
                )
                return Probation(
                    bundle, fallback, self._options.guard, is_cold=self._options.is_cold
                )
            log.info("no version to fall back to", extra={"model_version": bundle.version})
        self._verdicts.mark_decided(bundle.version)
        return None

    def _load(self, version: str) -> Loaded | None:
        loaded = self._loader.load(version)
        self._note(refused=self._loader.refused)
        return loaded

    def _end_probation(self) -> str | None:
        """End the probation of a version that passed it, here or on another scorer."""
        probation = self._probation
        if probation is None:
            return None
        if probation.has_passed():
            self._publish_acceptance(probation)
            log.info(
                "model passed its probation",
                extra={"model_version": probation.version, **probation.figures()},
            )
        elif not self._verdicts.is_accepted(probation.version):
            return None
        self._verdicts.mark_decided(probation.version)
        with self._lock:
            if self._probation is probation:
                self._probation = None
        return None

    def _publish_acceptance(self, probation: Probation) -> None:
        try:
            self._verdicts.accept(probation.version, probation.figures())
        except StoreError as error:
            # A scorer may have read-only credentials. The version has passed here; the other
            # scorers judge it themselves.
            log.warning("could not mark %s as accepted in the store: %s", probation.version, error)

    def _load_cached(self) -> None:
        for version, files in self._cache.candidates():
            if version in self._rejected:
                continue
            started = time.monotonic()
            try:
                bundle = load_bundle(files, version, self._options.trusted_keys)
            except ScorerError as error:
                if version not in self._unloadable:
                    self._unloadable.add(version)
                    log.warning("cannot load the cached model %s: %s", version, error)
                continue
            doubt = "" if self._knows_rejected else "; the store cannot say whether it is rejected"
            log.warning("serving the cached model%s", doubt, extra={"model_version": version})
            self._swap(bundle, time.monotonic() - started, None)
            return

    def _swap(self, bundle: Bundle, seconds: float, probation: Probation | None) -> None:
        with self._lock:
            if bundle.version in self._verdicts.pending:
                return  # rejected while it was being loaded
            before = self._current.version if self._current else None
            self._probation = probation
            self._current = bundle
            self._note(load_seconds=seconds)
        self._loaded.set()
        log.info(
            "model loaded",
            extra={"model_version": bundle.version, "before": before, "seconds": round(seconds, 3)},
        )
        if self._on_load:
            self._on_load(bundle.version, seconds)

    def _note(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)
