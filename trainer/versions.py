"""The versions in the store: looking at them, promoting one, going back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stream_scorer.errors import ArtifactError, StoreConflict, StoreError, UsageError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store import ArtifactStore, Pointer
from stream_scorer.model.store_layout import METADATA, version_number
from stream_scorer.runtime.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version in a list."""

    version: str
    status: str
    created_at: str
    rows: int | None
    average_precision: float | None
    recall_top_2_percent: float | None


def fetch_metadata(store: ArtifactStore, version: str) -> dict[str, Any]:
    """A version's metadata.

    Raises:
        UsageError: there is no such version, or its metadata cannot be read.
    """
    if version not in store.versions():
        known = ", ".join(store.versions()) or "none"
        raise UsageError(f"no version {version} in {store.where} (there are: {known})")
    try:
        metadata = json.loads(store.fetch(version)[METADATA])
    except ValueError as error:
        raise UsageError(f"{METADATA} of {version} cannot be read: {error}") from error
    if not isinstance(metadata, dict):
        raise UsageError(f"{METADATA} of {version} is not a JSON object")
    return metadata


def list_versions(store: ArtifactStore) -> Iterator[VersionLine]:
    """Every complete version, oldest first."""
    pointer, rejected = store.current(), store.rejected()
    for version in store.versions():
        try:
            metadata = fetch_metadata(store, version)
        except (UsageError, StoreError):
            yield VersionLine(version, "unreadable", "", None, None, None)
            continue
        test = _path(metadata, "metrics", "test")
        yield VersionLine(
            version,
            _status(version, metadata, pointer, rejected),
            str(metadata.get("created_at", "")),
            _path(metadata, "training", "rows"),
            _path(test, "average_precision"),
            _path(test, "top", "0.02", "recall"),
        )


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _status(
    version: str,
    metadata: Mapping[str, Any],
    pointer: Pointer | None,
    rejected: Mapping[str, Any],
) -> str:
    words = []
    if pointer is not None and pointer.version == version:
        words.append("promoted")
    if version in rejected:
        words.append("rejected by a scorer")
    if _path(metadata, "gate", "passed") is False:
        words.append("refused by the gate")
    return ", ".join(words)


def promote_version(
    store: ArtifactStore, settings: StoreSettings, version: str, *, is_forced: bool = False
) -> Pointer:
    """Make ``version`` the one that serves, after loading it as a scorer would.

    Raises:
        UsageError: it does not load, was rejected (unless forced), or the pointer moved.
    """
    pointer = store.current()
    if pointer is not None and pointer.version == version:
        return pointer
    fetch_metadata(store, version)
    reason = store.rejected().get(version)
    if reason is not None and not is_forced:
        raise UsageError(f"{version} was rejected by a scorer ({reason}); --force to promote it")
    try:
        load_bundle(store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys))
    except ArtifactError as error:
        raise UsageError(f"{version} cannot be served: {error}") from error
    try:
        return store.promote(version, pointer)
    except StoreConflict as error:
        raise UsageError(f"the pointer moved meanwhile ({error}); look and try again") from error


def previous_version(store: ArtifactStore) -> tuple[Pointer, str]:
    """The pointer, and the version one step before it that could serve.

    That is the newest older version which no scorer rejected and the gate let pass.

    Raises:
        UsageError: nothing is promoted, or there is no such version.
    """
    pointer = store.current()
    if pointer is None:
        raise UsageError(f"nothing is promoted in {store.where}, so there is no way back")
    number, rejected = version_number(pointer.version), store.rejected()
    for version in reversed(store.versions()):
        if version_number(version) >= number or version in rejected:
            continue
        if _path(fetch_metadata(store, version), "gate", "passed") is not False:
            return pointer, version
    raise UsageError(f"there is no version before {pointer.version} to roll back to")


def roll_back(store: ArtifactStore, settings: StoreSettings) -> tuple[str, str]:
    """Go back one version; returns the one left and the one now promoted.

    Raises:
        UsageError: see :func:`previous_version` and :func:`promote_version`.
    """
    pointer, version = previous_version(store)
    promote_version(store, settings, version)
    return pointer.version, version
