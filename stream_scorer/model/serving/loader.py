"""Fetches and verifies versions, and remembers the versions that failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stream_scorer.errors import ArtifactError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.store.port import ArtifactStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A verified version, its files as fetched, and the seconds that took."""

    bundle: Bundle
    files: Mapping[str, bytes]
    seconds: float


class Loader:
    """Loads versions from the store; a refused version is retried after a delay.

    A version never changes, but a read of it may have been cut short.
    ``on_failure(version, reason)`` is called once for each version.
    """

    def __init__(
        self,
        store: ArtifactStore,
        trusted_keys: Sequence[bytes],
        retry_refused_seconds: float,
        on_failure: Callable[[str, str], None] | None,
    ) -> None:
        self._store = store
        self._trusted_keys = trusted_keys
        self._retry_refused_seconds = retry_refused_seconds
        self._on_failure = on_failure
        self._refused_until: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        """The versions that failed to load, with the reason."""

    def load(self, version: str) -> Loaded | None:
        """The loaded version; None if it is refused.

        Raises:
            StoreError: the store did not answer, or does not have the version.
        """
        if time.monotonic() < self._refused_until.get(version, 0.0):
            return None
        started = time.monotonic()
        files = self._store.fetch(version)
        try:
            bundle = load_bundle(files, version, self._trusted_keys)
        except ArtifactError as error:
            self._refuse(version, str(error))
            return None
        return Loaded(bundle, files, time.monotonic() - started)

    def refusal(self, version: str) -> str:
        """Why a version is refused."""
        return f"version {version} is refused: {self.refused.get(version)}"

    def _refuse(self, version: str, reason: str) -> None:
        self._refused_until[version] = time.monotonic() + self._retry_refused_seconds
        if version in self.refused:
            return
        self.refused = {**self.refused, version: reason}
        log.error("model refused", extra={"model_version": version, "reason": reason})
        if self._on_failure:
            self._on_failure(version, reason)
