"""The versions in the store, as a list."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.errors import StoreError, UsageError
from stream_scorer.model.serving.probation import describe_rejection
from stream_scorer.model.store.names import METADATA
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.promotions import Promotion, last_promotion
from stream_scorer.model.store.succession import failed_its_gate
from stream_scorer.runtime.json_limits import parse_object, shown
from stream_scorer.runtime.text import printable

log = logging.getLogger(__name__)

PROMOTED: Final = "promoted"
"""How the status of the promoted version begins."""

CHALLENGER: Final = "challenger"
"""In the status of the version that scores in shadow."""

_MOST_ROWS: Final = 2**53


class UnknownVersion(UsageError):
    """The store has no such version, or it is incomplete."""


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
        return parse_object(store.read_metadata(version))
    except ValueError as error:
        raise UsageError(f"cannot read {METADATA} of {version}: {error}") from error


def list_versions(store: ArtifactStore) -> Iterator[VersionLine]:
    """Every complete version, oldest first."""
    pointer, rejected = store.current(), store.rejected()
    promotions, acceptances = store.history(), store.acceptances()
    challenger = _challenger(store)
    for version in store.versions():
        try:
            metadata = fetch_metadata(store, version)
        except (UsageError, StoreError):
            yield VersionLine(version, "unreadable", "", None, None, None, why(rejected, version))
            continue
        test = _path(metadata, "metrics", "test")
        yield VersionLine(
            version,
            _status(version, metadata, pointer, rejected, challenger),
            shown(metadata.get("created_at", "")),
            _count(_path(metadata, "training", "rows")),
            _share(_path(test, "average_precision")),
            _share(_path(test, "top", "0.02", "recall")),
            why(rejected, version),
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
        UnknownVersion: it is not, or does not exist.
    """
    versions = store.versions()
    if version not in versions:
        known = ", ".join(versions) or "none"
        raise UnknownVersion(f"no version {version} in {store.where} (existing versions: {known})")


def why(rejected: Mapping[str, Mapping[str, Any]], version: str) -> str | None:
    """Why scorers reject a version; None if they do not."""
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


def _challenger(store: ArtifactStore) -> str | None:
    """What scores in shadow; a pointer that names nothing must not hide the versions."""
    try:
        return store.challenger().version
    except StoreError as error:
        log.warning("%s", error)
        return None


def _status(
    version: str,
    metadata: Mapping[str, Any],
    pointer: Pointer | None,
    rejected: Mapping[str, Any],
    challenger: str | None,
) -> str:
    words = []
    if pointer is not None and pointer.version == version:
        words.append(PROMOTED)
    if version == challenger:
        words.append(CHALLENGER)
    if version in rejected:
        words.append("rejected by a scorer")
    if failed_its_gate(metadata):
        words.append("refused by the gate")
    return ", ".join(words)
