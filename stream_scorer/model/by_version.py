"""Bundles by version, whichever is promoted: for scoring again what a version has scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.recent import RecentlyUsed
from stream_scorer.errors import ArtifactError, StoreError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.store.port import ArtifactStore

MOST_BUNDLES: Final = 4
"""Loaded bundles kept; a large model takes a few hundred megabytes."""

_RETRY_SECONDS: Final = 30.0
"""A store that did not answer is asked again after this time: each attempt can take seconds."""

_LISTED_SECONDS: Final = 30.0
"""For this time the store is not listed again: a topic can name any number of versions."""


@dataclass(frozen=True, slots=True)
class NoBundle:
    """Why a version cannot be used."""

    reason: str


class BundlesByVersion:
    """Fetches and verifies versions as scorers do, and keeps the ones used last.

    A version that was rejected or rolled back can be used: its scores exist.

    Args:
        store: the artifact store.
        trusted_keys: public keys, one of which must have signed a bundle; empty accepts unsigned
            ones.
        clock: seconds.
    """

    def __init__(
        self,
        store: ArtifactStore,
        trusted_keys: Sequence[bytes] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._trusted_keys = trusted_keys
        self._clock = clock
        self._loaded: RecentlyUsed[str, Bundle] = RecentlyUsed(MOST_BUNDLES)
        self._refused: dict[str, tuple[NoBundle, float | None]] = {}
        self._listed: tuple[frozenset[str], float] = frozenset(), float("-inf")

    @property
    def where(self) -> str:
        """The store's URI."""
        return self._store.where

    def versions(self) -> list[str]:
        """The complete versions, oldest first.

        Raises:
            StoreError: the store does not answer.
        """
        return self._store.versions()

    def get(self, version: str) -> Bundle | NoBundle:
        """The bundle of a version, or why there is none. Never raises because of the store."""
        if bundle := self._loaded.get(version):
            return bundle
        refused, until = self._refused.get(version, (None, None))
        if refused is not None and (until is None or self._clock() < until):
            return refused
        try:
            found = self._load(version)
        except StoreError as error:
            found = NoBundle(f"version {version}: {error}")
            self._refused[version] = found, self._clock() + _RETRY_SECONDS
            return found
        if isinstance(found, NoBundle):
            self._refused[version] = found, None
            return found
        self._loaded.put(version, found)
        self._loaded.trim()
        return found

    def _load(self, version: str) -> Bundle | NoBundle:
        listed, until = self._listed
        if version not in listed and self._clock() >= until:
            self._listed = frozenset(self._store.versions()), self._clock() + _LISTED_SECONDS
        if version not in self._listed[0]:
            return NoBundle(f"version {version} is not in the store {self._store.where}")
        try:
            return load_bundle(self._store.fetch(version), version, self._trusted_keys)
        except ArtifactError as error:
            return NoBundle(f"version {version} is refused: {error}")
