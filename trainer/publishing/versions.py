"""The versions in the store: looking at them, promoting one, going back."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stream_scorer.errors import ArtifactError, StoreConflict, StoreError, UsageError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.serving.probation import describe_rejection
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.names import METADATA
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.succession import failed_its_gate, find_succession
from stream_scorer.runtime.json_limits import parse_object
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
    rejection: str | None = None
    """Why scorers keep away from it, if they do."""


def fetch_metadata(store: ArtifactStore, version: str) -> dict[str, Any]:
    """A version's metadata.

    Raises:
        UsageError: there is no such version, or its metadata cannot be read.
    """
    _require_version(store, version)
    try:
        return parse_object(store.fetch(version)[METADATA])
    except ValueError as error:
        raise UsageError(f"{METADATA} of {version} cannot be read: {error}") from error


def list_versions(store: ArtifactStore) -> Iterator[VersionLine]:
    """Every complete version, oldest first."""
    pointer, rejected = store.current(), store.rejected()
    for version in store.versions():
        try:
            metadata = fetch_metadata(store, version)
        except (UsageError, StoreError):
            yield VersionLine(version, "unreadable", "", None, None, None, _why(rejected, version))
            continue
        test = _path(metadata, "metrics", "test")
        yield VersionLine(
            version,
            _status(version, metadata, pointer, rejected),
            str(metadata.get("created_at", "")),
            _path(metadata, "training", "rows"),
            _path(test, "average_precision"),
            _path(test, "top", "0.02", "recall"),
            _why(rejected, version),
        )


def _require_version(store: ArtifactStore, version: str) -> None:
    versions = store.versions()
    if version not in versions:
        known = ", ".join(versions) or "none"
        raise UsageError(f"no version {version} in {store.where} (there are: {known})")


def _why(rejected: Mapping[str, Mapping[str, Any]], version: str) -> str | None:
    return describe_rejection(rejected[version]) if version in rejected else None


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
    store: ArtifactStore,
    settings: StoreSettings,
    version: str,
    *,
    is_forced: bool = False,
    is_rollback: bool = False,
) -> Pointer:
    """Make ``version`` the one that serves, after loading it as a scorer would.

    Forced, a rejected version is accepted first: else no scorer would take it.

    Raises:
        UsageError: it does not load, was rejected (unless forced), or the pointer moved.
    """
    pointer = store.current()
    rejected = store.rejected()
    is_promoted = pointer is not None and pointer.version == version
    if is_promoted and version not in rejected:
        assert pointer is not None  # noqa: S101 - for mypy
        return pointer
    _require_version(store, version)
    if version in rejected and not is_forced:
        raise UsageError(
            f"{version} was rejected by a scorer: {_why(rejected, version)}; scorers keep away "
            f"from it until fraud-trainer models accept {version}, or promote --force, which does "
            "both"
        )
    try:
        load_bundle(store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys))
    except ArtifactError as error:
        raise UsageError(f"{version} cannot be served: {error}") from error
    if version in rejected:
        accept_version(store, version)
    try:
        return store.promote(version, pointer, is_rollback=is_rollback)
    except StoreConflict as error:
        raise UsageError(
            f"somebody else promoted at the same time and won: {error}; look with fraud-trainer "
            "models list and try again if it still should be so"
        ) from error


def accept_version(store: ArtifactStore, version: str) -> bool:
    """Lift the rejection of a version, for good: no guard judges it again.

    Returns:
        Whether it was rejected.

    Raises:
        UsageError: there is no such version.
    """
    _require_version(store, version)
    return store.readmit(
        version,
        {
            "version": version,
            "reason": "accepted by an operator",
            "was_rejected": _why(store.rejected(), version),
            "host": socket.gethostname(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def previous_version(store: ArtifactStore) -> tuple[Pointer, str]:
    """The pointer, and the version that was promoted before it and is not rejected.

    Raises:
        UsageError: nothing is promoted, or there is no such version.
    """
    pointer = store.current()
    if pointer is None:
        raise UsageError(f"nothing is promoted in {store.where}, so there is no way back")
    succession = find_succession(store, pointer.version, store.rejected())
    for version in succession.versions:
        if succession.is_recorded or not failed_its_gate(fetch_metadata(store, version)):
            return pointer, version
    raise UsageError(
        f"there is no version before {pointer.version} to roll back to: none was promoted before "
        "it that is not rejected"
    )


def roll_back(store: ArtifactStore, settings: StoreSettings) -> tuple[str, str]:
    """Go back one version; returns the one left and the one now promoted.

    Raises:
        UsageError: see :func:`previous_version` and :func:`promote_version`.
    """
    pointer, version = previous_version(store)
    promote_version(store, settings, version, is_rollback=True)
    return pointer.version, version
