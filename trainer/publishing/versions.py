"""The versions in the store: list them, promote one, roll back."""

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
    """Why scorers reject the version, if they do."""


def fetch_metadata(store: ArtifactStore, version: str) -> dict[str, Any]:
    """A version's metadata.

    Raises:
        UsageError: the version does not exist, or its metadata cannot be read.
    """
    require_version(store, version)
    try:
        return parse_object(store.fetch(version)[METADATA])
    except ValueError as error:
        raise UsageError(f"cannot read {METADATA} of {version}: {error}") from error


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


def require_version(store: ArtifactStore, version: str) -> None:
    """Check that a version is complete.

    Raises:
        UsageError: it is not, or does not exist.
    """
    versions = store.versions()
    if version not in versions:
        known = ", ".join(versions) or "none"
        raise UsageError(f"no version {version} in {store.where} (existing versions: {known})")


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
    """Promote ``version``, after loading it as a scorer would.

    With ``is_forced``, a rejected version is accepted first: otherwise no scorer would serve it.

    Raises:
        UsageError: it does not load, was rejected (unless forced), or the pointer was moved.
    """
    pointer = store.current()
    rejected = store.rejected()
    is_promoted = pointer is not None and pointer.version == version
    if is_promoted and version not in rejected:
        assert pointer is not None  # noqa: S101 - for mypy
        return pointer
    require_version(store, version)
    if version in rejected and not is_forced:
        raise UsageError(
            f"{version} was rejected by a scorer: {_why(rejected, version)}; scorers will not "
            f"serve it until you run fraud-trainer models accept {version} (promote --force does "
            "both)"
        )
    try:
        load_bundle(store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys))
    except ArtifactError as error:
        raise UsageError(f"cannot serve {version}: {error}") from error
    if version in rejected:
        accept_version(store, version)
    try:
        return store.promote(version, pointer, is_rollback=is_rollback)
    except StoreConflict as error:
        raise UsageError(
            f"another promotion happened at the same time: {error}; check with fraud-trainer "
            "models list, and retry if needed"
        ) from error


def accept_version(store: ArtifactStore, version: str) -> bool:
    """Lift a version's rejection permanently: no guard judges it again.

    Returns:
        Whether it was rejected.

    Raises:
        UsageError: the version does not exist.
    """
    require_version(store, version)
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
    """The pointer, and the last version promoted before it that is not rejected.

    Raises:
        UsageError: no version is promoted, or there is no version to roll back to.
    """
    pointer = store.current()
    if pointer is None:
        raise UsageError(f"cannot roll back: no version is promoted in {store.where}")
    succession = find_succession(store, pointer.version, store.rejected())
    for version in succession.versions:
        if succession.is_recorded or not failed_its_gate(fetch_metadata(store, version)):
            return pointer, version
    raise UsageError(
        f"cannot roll back from {pointer.version}: every version promoted before it is rejected "
        "or gone, or there is none"
    )


def roll_back(store: ArtifactStore, settings: StoreSettings) -> tuple[str, str]:
    """Promote the previous version; returns the version left and the one now promoted.

    Raises:
        UsageError: see :func:`previous_version` and :func:`promote_version`.
    """
    pointer, version = previous_version(store)
    promote_version(store, settings, version, is_rollback=True)
    return pointer.version, version
