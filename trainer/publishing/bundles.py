"""Loads a published version for people who want to look into it."""

from __future__ import annotations

from stream_scorer.errors import ArtifactError, UsageError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.settings import StoreSettings


def fetch_bundle(store: ArtifactStore, settings: StoreSettings, version: str) -> Bundle:
    """A version, verified as a scorer would.

    Raises:
        UsageError: it does not exist, or cannot be loaded.
        StoreError: the store cannot be reached.
    """
    versions = store.versions()
    if version not in versions:
        known = ", ".join(versions) or "none"
        raise UsageError(f"no version {version} in {store.where} (existing versions: {known})")
    try:
        keys = parse_trusted_keys(settings.model_trusted_keys)
        return load_bundle(store.fetch(version), version, keys)
    except ArtifactError as error:
        raise UsageError(f"cannot load {version}: {error}") from error
