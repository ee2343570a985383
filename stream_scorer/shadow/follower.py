"""Follows the store's challenger, and starts it when it changes."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.names import MODEL, PREPROCESSOR
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.text import printable
from stream_scorer.shadow.apart import ChallengerRefused
from stream_scorer.shadow.models import ShadowModel
from stream_scorer.shadow.ports import ShadowObserver
from stream_scorer.shadow.worker import ShadowWorker

log = logging.getLogger(__name__)

BUNDLE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Of a challenger's two pickles. Loaded, they take about three times that, which has to fit into
its process."""

RETRY_REFUSED_SECONDS: Final = 300.0
_JITTER: Final = 0.1
_CHECK_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 1.0


class ChallengerFollower:
    """Keeps the worker's challenger at that of the store.

    Args:
        store: an object of its own.
        worker: gets the challenger.
        start: loads a version; it may take seconds, and raises ``ChallengerRefused``.
        poll_seconds: between two looks at the pointer.
        serving: the version that serves, which is no challenger.
        observer: is notified of versions that are refused.
        check: called every second; why there may be no challenger now, or None.
    """

    def __init__(
        self,
        store: ArtifactStore,
        worker: ShadowWorker,
        start: Callable[[str], ShadowModel],
        poll_seconds: float,
        serving: Callable[[], Bundle | None],
        observer: ShadowObserver,
        check: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._serving = serving
        self._observer = observer
        self._start = start
        self._check = check
        self._poll_seconds = poll_seconds
        self._too_large: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._reported: set[str] = set()
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="challenger", daemon=True)

    def start(self) -> None:
        """Start following in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended, or after a second."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def tick(self) -> None:
        """Look at the store once; a store that does not answer changes nothing."""
        self.look_after()
        try:
            model = self._find()
        except StoreError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning("cannot look for a challenger: %s", error)
            return
        self._problem = None
        if model is not self._worker.challenger:
            if model is not None:
                log.info("challenger loaded", extra={"model_version": model.version})
            self._worker.use(model)

    def look_after(self) -> None:
        """Give up a challenger that hangs, or that may no longer be here."""
        self._worker.check()
        challenger = self._worker.challenger
        if challenger is not None and (reason := self._check()) is not None:
            log.error(
                "the challenger is put aside: %s", reason,
                extra={"model_version": challenger.version},
            )  # fmt: skip
            self._worker.put_away(challenger.version)

    def _find(self) -> ShadowModel | None:
        """The challenger to score with; the one at hand if it is still that.

        Raises:
            StoreError: the store did not answer.
        """
        version = self._store.challenger().version
        serving, current = self._serving(), self._worker.challenger
        if version is None or self._worker.is_disabled or version in self._worker.put_aside:
            return None
        if serving is None or version == serving.version or version in self._store.rejected():
            return None
        if current is not None and current.version == version:
            return current
        return self._load(version)

    def _load(self, version: str) -> ShadowModel | None:
        is_early = time.monotonic() < self._retry_at.get(version, 0.0)
        if is_early or version in self._too_large or not self._fits(version):
            return None
        try:
            return self._start(version)
        except ChallengerRefused as error:
            self._retry_at[version] = time.monotonic() + RETRY_REFUSED_SECONDS
            if version not in self._reported:
                self._reported.add(version)
                self._observer.refused()
                log.error(
                    "the challenger is refused: %s", printable(str(error)),
                    extra={"model_version": version},
                )  # fmt: skip
            return None

    def _fits(self, version: str) -> bool:
        """Whether the sizes that the metadata states are within the limit; before any is read."""
        try:
            metadata = parse_object(self._store.read_metadata(version))
        except ValueError:
            return True  # the loader says what is wrong with it
        return not self._is_too_large(version, _stated_sizes(metadata))

    def _is_too_large(self, version: str, size: int) -> bool:
        if size <= BUNDLE_MAX_BYTES:
            return False
        self._too_large.add(version)
        log.error(
            "the challenger is refused: its files have %d bytes, and the limit for a challenger is "
            "%d; compare it by stream-scorer replay", size, BUNDLE_MAX_BYTES,
            extra={"model_version": version},
        )  # fmt: skip
        self._observer.refused()
        return True

    def _follow(self) -> None:
        due = 0.0
        while not self._stop.is_set():
            try:
                self.look_after()
                if time.monotonic() >= due:
                    self.tick()
                    jitter = 1 + random.uniform(-_JITTER, _JITTER)
                    due = time.monotonic() + self._poll_seconds * jitter
            except ScorerError as error:
                log.warning("following the challenger failed: %s", error)
            except Exception:  # last line of defence, as in the model watcher
                log.exception("following the challenger failed")
                due = time.monotonic() + self._poll_seconds
            self._stop.wait(min(_CHECK_SECONDS, self._poll_seconds))


def _stated_sizes(metadata: Mapping[str, Any]) -> int:
    files = metadata.get("files")
    stated = [files.get(n) for n in (MODEL, PREPROCESSOR)] if isinstance(files, Mapping) else []
    sizes = [one.get("bytes") for one in stated if isinstance(one, Mapping)]
    return sum(size for size in sizes if type(size) is int and size > 0)
