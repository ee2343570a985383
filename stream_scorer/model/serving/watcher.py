"""Hot reload: watches the store's pointer and keeps the newest verified bundle at hand.

A new version is fetched, verified and rescored in this module's own thread; only then does
``current`` change, by one assignment. Whoever reads ``current`` once for a batch scores that
batch by exactly one version.

Where a guard is asked for, a version that takes over is on probation until it has served for a
while, with the version before it kept at hand. Only the pointer's version can be: what it falls
back to has passed, or served before there was a doubt, so drift of the input can cost the newest
version and never one more.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.guard import GuardPolicy, Trip
from stream_scorer.model.serving.loader import Loaded, Loader
from stream_scorer.model.serving.probation import Probation, describe_rejection
from stream_scorer.model.serving.verdicts import Verdicts
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.succession import Succession, failed_its_gate, find_succession

log = logging.getLogger(__name__)

_JITTER: Final = 0.1  # share of the poll time by which pods spread their requests
_RETRY_REFUSED_SECONDS: Final = 300.0  # a version never changes, what was read of it may

_FIRST_RETRY_SECONDS: Final = 1.0  # without any model a store that comes back is seen soon


@dataclass(frozen=True, slots=True)
class FallBack:
    """The promoted version is rejected, and ``serving`` scores instead (None: nothing does)."""

    rejected: str
    serving: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """How the watcher fares, for health pages.

    ``checked_at`` is the monotonic time of the last answer from the store (None: never);
    ``problem`` says what is wrong now; ``refused`` are versions that failed, with the reason;
    ``rolled_back`` says that an older version scores because the promoted one is rejected;
    ``promoted`` is the version the store's pointer named last.
    """

    checked_at: float | None = None
    problem: str | None = None
    refused: Mapping[str, str] | None = None
    load_seconds: float | None = None
    rolled_back: FallBack | None = None
    promoted: str | None = None


OnLoad = Callable[[str, float], None]
OnFailure = Callable[[str, str], None]
OnTrip = Callable[[str, Trip], None]


class ModelWatcher:
    """Keeps :attr:`current` at the promoted version, or at the last good one when that fails.

    ``on_load(version, seconds)`` and ``on_failure(version, reason)`` are called from the
    watcher's thread, for metrics; a failing version is reported once, though it is tried again
    every ``retry_refused_seconds``. With a ``guard`` new versions are on probation, and
    ``on_trip(version, trip)`` is called from the thread that found one out.
    """

    def __init__(
        self,
        store: ArtifactStore,
        cache: BundleCache,
        trusted_keys: Sequence[bytes] = (),
        poll_seconds: float = 15.0,
        on_load: OnLoad | None = None,
        on_failure: OnFailure | None = None,
        retry_refused_seconds: float = _RETRY_REFUSED_SECONDS,
        guard: GuardPolicy | None = None,
        on_trip: OnTrip | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._trusted_keys = trusted_keys
        self._poll_seconds = poll_seconds
        self._on_load = on_load
        self._loader = Loader(store, trusted_keys, retry_refused_seconds, on_failure)
        self._current: Bundle | None = None
        self._status = ReloadStatus(refused={})
        self._unwanted: dict[str, str] = {}
        self._useless: set[str] = set()
        self._rejected: dict[str, dict[str, Any]] = {}
        self._guard = guard
        self._on_trip = on_trip
        self._verdicts = Verdicts(store)
        self._probation: Probation | None = None
        self._lock = threading.RLock()  # of current, probation and status: two threads change them
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)

    @property
    def current(self) -> Bundle | None:
        """The bundle to score with now; None until a first one is loaded."""
        return self._current

    @property
    def status(self) -> ReloadStatus:
        """What the watcher knows about itself."""
        return self._status

    @property
    def probation(self) -> Probation | None:
        """How the version that serves is doing, while that is in doubt."""
        return self._probation

    def is_withdrawn(self, version: str) -> bool:
        """Whether ``version`` was rejected and another one scores by now."""
        is_rejected = version in self._rejected or version in self._verdicts.pending
        current = self._current
        return is_rejected and current is not None and current.version != version

    def fall_back(self, probation: Probation, trip: Trip) -> None:
        """Serve the version before at once; the store is told as soon as it listens.

        Called by whoever scores; touches no file and no socket.
        """
        version, fallback = probation.version, probation.fallback
        with self._lock:
            if self._probation is not probation:
                return  # it is over: passed, found out before, or another version took over
            self._probation = None
            self._verdicts.reject(version, trip, fallback.version)
            self._current = fallback
            self._note(rolled_back=FallBack(version, fallback.version, trip.reason))
        log.error(
            "model guard tripped: %s falls back to %s: %s", version, fallback.version, trip.reason,
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
        """Stop watching; returns when the thread has ended or after five seconds."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def wait(self, timeout: float) -> Bundle | None:
        """The first bundle, waiting up to ``timeout`` seconds for it."""
        self._loaded.wait(timeout)
        return self._current

    def tick(self) -> None:
        """Look once and load what is new; never raises for a bad store or bundle."""
        try:
            problem = self._follow()
        except StoreError as error:
            problem = f"artifact store: {error}"
        if problem is not None and problem != self._status.problem:
            log.warning("%s", problem)
        self._note(problem=problem)
        if self._current is None:
            self._load_cached()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:  # the last line of defence: a watcher that dies reloads nothing
                log.exception("model watcher")
            pause = self._poll_seconds
            if self._current is None:
                pause = min(pause, _FIRST_RETRY_SECONDS)
            self._wake.wait(pause * (1 + random.uniform(-_JITTER, _JITTER)))
            self._wake.clear()

    def _follow(self) -> str | None:
        """Serve what the pointer asks for; what is wrong, if anything.

        Raises:
            StoreError: the store did not answer.
        """
        problem = self._verdicts.publish(self._cache.forget)
        pointer = self._store.current()
        if pointer is None:
            self._note(checked_at=time.monotonic(), rolled_back=None)
            return "no version is promoted yet: run fraud-trainer train"
        self._rejected = self._verdicts.added_to(self._store.rejected())
        self._note(checked_at=time.monotonic(), promoted=pointer.version)
        if pointer.version not in self._rejected:
            self._note(rolled_back=None)
            return self._serve(pointer.version) or self._watch_over() or problem
        return self._serve_another(pointer) or problem

    def _serve_another(self, pointer: Pointer) -> str | None:
        """Serve the version before the rejected one; the choice depends on the store alone."""
        succession = find_succession(self._store, pointer.version, self._rejected)
        for version in succession.versions:
            if self._serve(version, succession) is None:
                self._note_fallen(pointer.version, version)
                return None
        serving = self._current.version if self._current else None
        self._note_fallen(pointer.version, serving)
        return f"version {pointer.version} is rejected, and no version before it can be served"

    def _note_fallen(self, rejected: str, serving: str | None) -> None:
        reason = describe_rejection(self._rejected[rejected])
        before = self._status.rolled_back
        self._note(rolled_back=FallBack(rejected, serving, reason))
        if before is None or before.rejected != rejected:
            log.warning(
                "the promoted version %s is rejected: %s", rejected, reason,
                extra={"model_version": serving, "rejected": rejected},
            )  # fmt: skip

    def _serve(self, version: str, instead: Succession | None = None) -> str | None:
        """Make a version the current one if it is not; why it cannot be, if so.

        ``instead`` is given for one that serves in the place of the promoted one.
        """
        if self._current is not None and self._current.version == version:
            if instead is None and self._probation is None:
                self._probation = self._begin_probation(self._current)
            return None
        if instead is not None and version in self._unwanted:
            return self._unwanted[version]
        loaded = self._load(version)
        if loaded is None:
            return self._loader.refusal(version)
        bundle = loaded.bundle
        if instead is not None and not instead.is_recorded and failed_its_gate(bundle.metadata):
            self._unwanted[version] = "it did not pass its gate"
            return self._unwanted[version]
        probation = None if instead is not None else self._begin_probation(bundle)
        self._cache.save(version, loaded.files)
        self._swap(bundle, loaded.seconds, probation)
        return None

    def _begin_probation(self, bundle: Bundle) -> Probation | None:
        """The probation of a version that is new, if there is one to fall back to.

        Raises:
            StoreError: the store did not answer.
        """
        if self._guard is None or self._verdicts.is_settled(bundle.version):
            return None
        succession = find_succession(self._store, bundle.version, self._rejected)
        # Without a history, what is promoted as this process starts has served before.
        is_new = succession.is_recorded or (
            self._current is not None and self._current.version != bundle.version
        )
        if is_new and not self._verdicts.is_accepted(bundle.version):
            fallback = self._find_fallback(succession)
            if fallback is not None:
                log.info(
                    "model on probation",
                    extra={"model_version": bundle.version, "fallback": fallback.version},
                )
                return Probation(bundle, fallback, self._guard)
            log.info("no version to fall back to", extra={"model_version": bundle.version})
        self._verdicts.settle(bundle.version)
        return None

    def _find_fallback(self, succession: Succession) -> Bundle | None:
        for version in succession.versions:
            if self._current is not None and self._current.version == version:
                return self._current
            loaded = self._load(version)
            if loaded is None:
                continue
            if succession.is_recorded or not failed_its_gate(loaded.bundle.metadata):
                return loaded.bundle
        return None

    def _load(self, version: str) -> Loaded | None:
        loaded = self._loader.load(version)
        if loaded is None:
            self._note(refused=self._loader.refused)
        return loaded

    def _watch_over(self) -> str | None:
        """End the probation of a version that has passed it, here or elsewhere."""
        probation = self._probation
        if probation is None:
            return None
        if probation.has_passed():
            self._say_passed(probation)
            log.info(
                "model passed its probation",
                extra={"model_version": probation.version, **probation.figures()},
            )
        elif not self._verdicts.is_accepted(probation.version):
            return None
        self._verdicts.settle(probation.version)
        with self._lock:
            if self._probation is probation:
                self._probation = None
        return None

    def _say_passed(self, probation: Probation) -> None:
        try:
            self._verdicts.accept(probation.version, probation.figures())
        except StoreError as error:
            # A scorer may have no right to write. What is passed here is passed; others judge
            # for themselves.
            log.warning("the store was not told that %s is good: %s", probation.version, error)

    def _load_cached(self) -> None:
        for version, files in self._cache.candidates():
            if version in self._rejected:
                continue
            started = time.monotonic()
            try:
                bundle = load_bundle(files, version, self._trusted_keys)
            except ScorerError as error:
                if version not in self._useless:
                    self._useless.add(version)
                    log.warning("the cached model %s is of no use: %s", version, error)
                continue
            log.warning("serving the cached model", extra={"model_version": version})
            self._swap(bundle, time.monotonic() - started, None)
            return

    def _swap(self, bundle: Bundle, seconds: float, probation: Probation | None) -> None:
        with self._lock:
            if bundle.version in self._verdicts.pending:
                return  # found out while it was loaded
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
