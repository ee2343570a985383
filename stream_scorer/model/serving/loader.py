"""Fetches and verifies versions, and remembers the versions that failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import ArtifactCorrupt, ArtifactError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.store.port import ArtifactStore

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS: Final = 5.0
"""A version may be half copied from another store when it is first read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A verified version, its files as fetched, and the seconds that took."""

    bundle: Bundle
    files: Mapping[str, bytes]
    seconds: float


class Loader:
    """Loads versions from the store; a refused version is retried after a delay.

    A version never changes, but the read of it may have been cut short, or the version is still
    being copied from another store. So a corrupt version is retried soon, then ever later. One for
    other code stays refused for the whole ``retry_refused_seconds``.
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
        self._delays: dict[str, float] = {}
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
            self._refuse(version, str(error), may_be_partial=isinstance(error, ArtifactCorrupt))
            return None
        self.refused = {known: why for known, why in self.refused.items() if known != version}
        return Loaded(bundle, files, time.monotonic() - started)

    def refusal(self, version: str) -> str:
        """Why a version is refused."""
        return f"version {version} is refused: {self.refused.get(version)}"

    def _refuse(self, version: str, reason: str, *, may_be_partial: bool) -> None:
        longest = self._retry_refused_seconds
        first = _FIRST_RETRY_SECONDS if may_be_partial else longest
        delay = min(longest, 2 * self._delays[version] if version in self._delays else first)
        self._delays[version] = delay
        self._refused_until[version] = time.monotonic() + delay
        if version in self.refused:
            return
        self.refused = {**self.refused, version: reason}
        log.error("model refused", extra={"model_version": version, "reason": reason})
        if self._on_failure:
            self._on_failure(version, reason)
