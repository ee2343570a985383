"""The bundle whose card history a command is about."""

from __future__ import annotations

from collections.abc import Sequence

from stream_scorer.errors import UsageError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.store.port import ArtifactStore


def find_history_bundle(
    store: ArtifactStore, version: str | None, trusted_keys: Sequence[bytes] = ()
) -> Bundle:
    """A version that reads card history; the promoted one if none is named.

    Raises:
        UsageError: nothing is promoted, or the version reads no card history.
        StoreError, ArtifactCorrupt, ArtifactIncompatible: it cannot be loaded.
    """
    if version is None:
        pointer = store.current()
        if pointer is None:
            raise UsageError(
                f"no version is promoted in {store.where}: set MODEL_STORE_URI, or name a version "
                "with --model"
            )
        version = pointer.version
    bundle = load_bundle(store.fetch(version), version, trusted_keys)
    if bundle.features.program.history is None:
        raise UsageError(
            f"version {version} reads no card history: name a version that does with --model"
        )
    return bundle
