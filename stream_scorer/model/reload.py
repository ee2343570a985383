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
    watcher's thread, for metrics; a failing version is reported once.
    """

    def __init__(
        self,
        store: ArtifactStore,
        cache: BundleCache,
        trusted_keys: Sequence[bytes] = (),
        poll_seconds: float = 15.0,
        on_load: OnLoad | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._trusted_keys = trusted_keys
        self._poll_seconds = poll_seconds
        self._on_load = on_load
        self._on_failure = on_failure
        self._current: Bundle | None = None
        self._status = ReloadStatus(refused={})
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
            wanted = self._wanted()
        except StoreError as error:
            self._note_problem(f"artifact store: {error}")
            if self._current is None:
                self._load_cached()
            return
        problem = None if wanted else "no version is promoted yet: run fraud-trainer train"
        self._status = replace(self._status, checked_at=time.monotonic(), problem=problem)
        if wanted is None or (self._current is not None and wanted == self._current.version):
            return
        refused = self._status.refused or {}
        if wanted not in refused:
            self._load(wanted)
        elif self._current is None:
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

    def _wanted(self) -> str | None:
        pointer = self._store.current()
        if pointer is None:
            return None
        rejected = self._store.rejected()
        if pointer.version not in rejected:
            return pointer.version
        older = [
            v
            for v in self._store.versions()
            if v not in rejected and version_number(v) < version_number(pointer.version)
        ]
        return older[-1] if older else None

    def _load(self, version: str) -> None:
        started = time.monotonic()
        try:
            files = self._store.fetch(version)
        except StoreError as error:
            self._note_problem(f"artifact store: {error}")
            if self._current is None:
                self._load_cached()
            return
        try:
            bundle = load_bundle(files, version, self._trusted_keys)
        except ArtifactError as error:
            self._refuse(version, error)
            if self._current is None:
                self._load_cached()
            return
        self._cache.save(version, files)
        self._swap(bundle, time.monotonic() - started)

    def _load_cached(self) -> None:
        cached = self._cache.load()
        if cached is None:
            return
        version, files = cached
        started = time.monotonic()
        try:
            bundle = load_bundle(files, version, self._trusted_keys)
        except ScorerError as error:
            self._refuse(version, error)
            return
        log.warning("serving the cached model", extra={"model_version": version})
        self._swap(bundle, time.monotonic() - started)

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
        refused = dict(self._status.refused or {})
        if version in refused:
            return
        refused[version] = str(error)
        problem = f"version {version} is refused: {error}"
        self._status = replace(self._status, refused=refused, problem=problem)
        log.error("model refused", extra={"model_version": version, "reason": str(error)})
        if self._on_failure:
            self._on_failure(version, str(error))

    def _note_problem(self, problem: str) -> None:
        if problem != self._status.problem:
            log.warning("%s", problem)
        self._status = replace(self._status, problem=problem)
