"""Hot reload: watches the store's pointer and keeps the newest verified bundle at hand.

A new version is fetched, verified and rescored in this module's own thread; only then does
``current`` change, by one assignment. Whoever reads ``current`` once for a batch scores that
batch by exactly one version.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stream_scorer.errors import ArtifactError, ScorerError, StoreError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.cache import BundleCache
from stream_scorer.model.store import ArtifactStore
from stream_scorer.model.store_layout import version_number

log = logging.getLogger(__name__)

_JITTER: Final = 0.1  # share of the poll time by which pods spread their requests
_RETRY_REFUSED_SECONDS: Final = 300.0
"""A version never changes, but what was read of it may have been cut short on the way."""

_FIRST_RETRY_SECONDS: Final = 1.0  # without any model a store that comes back is seen soon


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """How the watcher fares, for health pages.

    ``checked_at`` is the monotonic time of the last answer from the store (None: never);
    ``problem`` says what is wrong now; ``refused`` are versions that failed, with the reason.
    """

    checked_at: float | None = None
    problem: str | None = None
    refused: Mapping[str, str] | None = None
    load_seconds: float | None = None


OnLoad = Callable[[str, float], None]
OnFailure = Callable[[str, str], None]


class ModelWatcher:
    """Keeps :attr:`current` at the promoted version, or at the last good one when that fails.

    ``on_load(version, seconds)`` and ``on_failure(version, reason)`` are called from the
    watcher's thread, for metrics; a failing version is reported once, though it is tried again
    every ``retry_refused_seconds``.
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
    ) -> None:
        self._store = store
        self._cache = cache
        self._trusted_keys = trusted_keys
        self._poll_seconds = poll_seconds
        self._on_load = on_load
        self._on_failure = on_failure
        self._current: Bundle | None = None
        self._status = ReloadStatus(refused={})
        self._retry_refused_seconds = retry_refused_seconds
        self._refused_until: dict[str, float] = {}
        self._unwanted: dict[str, str] = {}
        self._useless: set[str] = set()
        self._rejected: frozenset[str] = frozenset()
        self._stop = threading.Event()
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

    def start(self) -> None:
        """Start watching in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns when the thread has ended or after five seconds."""
        self._stop.set()
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
        self._status = replace(self._status, problem=problem)
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
            self._stop.wait(pause * (1 + random.uniform(-_JITTER, _JITTER)))

    def _follow(self) -> str | None:
        """Serve what the pointer asks for; what is wrong, if anything.

        Raises:
            StoreError: the store did not answer.
        """
        pointer = self._store.current()
        rejected = frozenset(self._store.rejected()) if pointer else frozenset[str]()
        self._rejected = rejected or self._rejected
        self._status = replace(self._status, checked_at=time.monotonic())
        if pointer is None:
            return "no version is promoted yet: run fraud-trainer train"
        if pointer.version not in rejected:
            return self._serve(pointer.version)
        # Every scorer keeps to the version before, so the choice depends on the store alone.
        for version in reversed(self._store.versions()):
            is_before = version_number(version) < version_number(pointer.version)
            if is_before and version not in rejected and self._serve(version, True) is None:
                return None
        return f"version {pointer.version} is rejected, and no version before it can be served"

    def _serve(self, version: str, is_fallback: bool = False) -> str | None:
        """Make a version the current one if it is not; why it cannot be, if so."""
        if self._current is not None and self._current.version == version:
            return None
        if is_fallback and version in self._unwanted:
            return self._unwanted[version]
        if time.monotonic() < self._refused_until.get(version, 0.0):
            return self._refusal(version)
        started = time.monotonic()
        files = self._store.fetch(version)
        try:
            bundle = load_bundle(files, version, self._trusted_keys)
        except ArtifactError as error:
            self._refuse(version, error)
            return self._refusal(version)
        if is_fallback and _gate_refused(bundle):
            self._unwanted[version] = "it did not pass its gate"
            return self._unwanted[version]
        self._cache.save(version, files)
        self._swap(bundle, time.monotonic() - started)
        return None

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
            self._swap(bundle, time.monotonic() - started)
            return

    def _swap(self, bundle: Bundle, seconds: float) -> None:
        before = self._current.version if self._current else None
        self._current = bundle
        self._status = replace(self._status, load_seconds=seconds)
        self._loaded.set()
        log.info(
            "model loaded",
            extra={"model_version": bundle.version, "before": before, "seconds": round(seconds, 3)},
        )
        if self._on_load:
            self._on_load(bundle.version, seconds)

    def _refuse(self, version: str, error: Exception) -> None:
        self._refused_until[version] = time.monotonic() + self._retry_refused_seconds
        refused = self._status.refused or {}
        if version in refused:
            return
        self._status = replace(self._status, refused={**refused, version: str(error)})
        log.error("model refused", extra={"model_version": version, "reason": str(error)})
        if self._on_failure:
            self._on_failure(version, str(error))

    def _refusal(self, version: str) -> str:
        return f"version {version} is refused: {(self._status.refused or {}).get(version)}"


def _gate_refused(bundle: Bundle) -> bool:
    """Whether the trainer published a bundle without promoting it, because it was worse."""
    gate = bundle.metadata.get("gate")
    return isinstance(gate, dict) and gate.get("passed") is False
