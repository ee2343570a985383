"""The versions in the store: list them, promote one, roll back."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.errors import ArtifactError, StoreConflict, StoreError, UsageError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.serving.probation import describe_rejection
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.names import METADATA
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.promotions import Override, Promotion, last_promotion
from stream_scorer.model.store.succession import (
    failed_its_gate,
    find_succession,
    gate_refusals,
    has_gate,
)
from stream_scorer.runtime.json_limits import parse_object, shown
from stream_scorer.runtime.settings import StoreSettings
from stream_scorer.runtime.text import printable

log = logging.getLogger(__name__)

PROMOTED: Final = "promoted"
"""How the status of the promoted version begins."""

_MOST_ROWS: Final = 2**53


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
    forced: str | None = None
    """Who promoted it by force, when and why, if its last promotion was forced."""
    accepted: str | None = None
    """Which operator accepted it, when and why, if one did."""


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
    promotions, acceptances = store.history(), store.acceptances()
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
            shown(metadata.get("created_at", "")),
            _count(_path(metadata, "training", "rows")),
            _share(_path(test, "average_precision")),
            _share(_path(test, "top", "0.02", "recall")),
            _why(rejected, version),
            describe_force(last_promotion(promotions, version)),
            describe_acceptance(acceptances.get(version)),
        )


def describe_force(promotion: Promotion | None) -> str | None:
    """Who promoted a version by force, when and why, as one line; None if nobody did."""
    if promotion is None or not promotion.is_forced:
        return None
    return f"by {promotion.by} at {printable(promotion.at)}: {promotion.reason}"


def describe_acceptance(marker: Mapping[str, Any] | None) -> str | None:
    """Which operator accepted a version, as one line; None if it passed its probation instead."""
    if marker is None or not isinstance(marker.get("by"), str):
        return None
    by, at, reason = (printable(shown(marker.get(key, ""))) for key in ("by", "at", "reason"))
    return f"by {by} at {at}: {reason}"


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


def _count(value: Any) -> int | None:
    """A number of rows; None if it is none, because anyone may have written the metadata."""
    return value if type(value) is int and 0 <= value < _MOST_ROWS else None


def _share(value: Any) -> float | None:
    """A number from 0 to 1; None if it is none."""
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None


def _status(
    version: str,
    metadata: Mapping[str, Any],
    pointer: Pointer | None,
    rejected: Mapping[str, Any],
) -> str:
    words = []
    if pointer is not None and pointer.version == version:
        words.append(PROMOTED)
    if version in rejected:
        words.append("rejected by a scorer")
    if failed_its_gate(metadata):
        words.append("refused by the gate")
    return ", ".join(words)


def promote_version(
    store: ArtifactStore,
    settings: StoreSettings,
    version: str,
    *,
    override: Override | None = None,
    is_rollback: bool = False,
) -> Pointer:
    """Promote ``version``, after loading it as a scorer would.

    With ``override``, a version that its gate refused or that a scorer rejected is promoted too:
    the store records who did it, when and why. A rejected version is accepted first, because no
    scorer would serve it otherwise. For a version that needs no force, nothing is recorded.

    Raises:
        UsageError: it does not load, it was rejected or refused by its gate (without ``override``),
            or the pointer was moved.
    """
    pointer = store.current()
    rejected = store.rejected()
    is_promoted = pointer is not None and pointer.version == version
    if is_promoted and version not in rejected and override is None:
        assert pointer is not None  # noqa: S101 - for mypy
        return pointer
    require_version(store, version)
    if version in rejected and override is None:
        raise UsageError(
            f"{version} was rejected by a scorer: {_why(rejected, version)}; scorers will not "
            f"serve it until you run fraud-trainer models accept {version} --reason TEXT (promote "
            "--force does both)"
        )
    try:
        bundle = load_bundle(
            store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys)
        )
    except ArtifactError as error:
        raise UsageError(f"cannot serve {version}: {error}") from error
    has_failed = check_gate(version, bundle.metadata, override)
    if version in rejected and override is not None:
        accept_version(store, version, override)
    is_needed = has_failed or version in rejected
    try:
        return store.promote(
            version, pointer, is_rollback=is_rollback, override=override if is_needed else None
        )
    except StoreConflict as error:
        raise UsageError(
            f"another promotion happened at the same time: {error}; check with fraud-trainer "
            "models list, and retry if needed"
        ) from error


def check_gate(version: str, metadata: Mapping[str, Any], override: Override | None) -> bool:
    """Whether the gate refused a version that is to be promoted.

    Raises:
        UsageError: it did, and there is no ``override``.
    """
    if not has_gate(metadata):
        log.warning(
            "%s has no gate in its metadata: an earlier release or another tool published it, so "
            "nothing says whether it is better than chance or than the champion", version,
        )  # fmt: skip
        return False
    if not failed_its_gate(metadata):
        return False
    if override is None:
        raise UsageError(
            f"{version} was refused by its gate: {'; '.join(gate_refusals(metadata))}. To promote "
            f"it all the same, run fraud-trainer models promote {version} --force --reason TEXT"
        )
    return True


def accept_version(store: ArtifactStore, version: str, override: Override) -> bool:
    """Lift a version's rejection permanently: no guard judges it again.

    The store records who did it, when and why.

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
            "by": override.by,
            "reason": override.reason,
            "was_rejected": _why(store.rejected(), version),
            "host": socket.gethostname(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def previous_version(store: ArtifactStore, *, is_forced: bool = False) -> tuple[Pointer, str]:
    """The pointer, and the last version promoted before it that is not rejected.

    A version that its gate refused, and that was promoted by force, is passed over unless
    ``is_forced``: one should not get back to it in a hurry without a word.

    Raises:
        UsageError: no version is promoted, or there is no version to roll back to.
    """
    pointer = store.current()
    if pointer is None:
        raise UsageError(f"cannot roll back: no version is promoted in {store.where}")
    succession = find_succession(store, pointer.version, store.rejected())
    refused: list[str] = []
    for version in succession.versions:
        has_failed = failed_its_gate(fetch_metadata(store, version))
        if not has_failed or (is_forced and succession.is_recorded):
            if refused:
                log.warning(
                    "passed over %s: refused by the gate and promoted by force; "
                    "fraud-trainer models rollback --force --reason TEXT goes there",
                    ", ".join(refused),
                )
            return pointer, version
        refused.append(version)
    reason = "every version promoted before it is rejected or gone, or there is none"
    if refused and succession.is_recorded:
        reason = (
            f"{', '.join(refused)} was refused by the gate and promoted by force, and no other "
            "version was promoted before it. To go there all the same, run fraud-trainer models "
            "rollback --force --reason TEXT"
        )
    raise UsageError(f"cannot roll back from {pointer.version}: {reason}")


def roll_back(
    store: ArtifactStore, settings: StoreSettings, override: Override | None = None
) -> tuple[str, str]:
    """Promote the previous version; returns the version left and the one now promoted.

    With ``override``, that may be a version that its gate refused.

    Raises:
        UsageError: see :func:`previous_version` and :func:`promote_version`.
    """
    pointer, version = previous_version(store, is_forced=override is not None)
    promote_version(store, settings, version, override=override, is_rollback=True)
    return pointer.version, version
