"""Promotes a version, rolls back, accepts a rejected version: one code path for every caller."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from stream_scorer.errors import ArtifactError, StoreConflict, UsageError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.store.succession import (
    failed_its_gate,
    find_succession,
    gate_refusals,
    has_gate,
)
from stream_scorer.model.versions.listing import fetch_metadata, require_version, why
from stream_scorer.runtime.settings import StoreSettings

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """The promoted version that a user saw; None if no version was promoted."""

    version: str | None

    @classmethod
    def of(cls, pointer: Pointer | None) -> Seen:
        """What a user who looks now sees."""
        return cls(None if pointer is None else pointer.version)


class PointerMoved(UsageError):
    """Another promotion happened meanwhile."""


class CannotServe(UsageError):
    """The version does not load as a scorer would load it."""


class NothingToRollBackTo(UsageError):
    """No version was promoted before that may serve again."""


class NeedsForce(UsageError):
    """The version is promoted only by force, which is recorded.

    Attributes:
        is_rejected: a scorer rejected it; otherwise its gate refused it.
        reasons: why, as text that is safe to show.
    """

    def __init__(self, message: str, *, is_rejected: bool, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.is_rejected = is_rejected
        self.reasons = reasons


def promote_version(
    store: ArtifactStore,
    settings: StoreSettings,
    version: str,
    *,
    override: Override | None = None,
    is_rollback: bool = False,
    seen: Seen | None = None,
) -> Pointer:
    """Promote ``version``, after loading it as a scorer would.

    With ``override``, a version that its gate refused or that a scorer rejected is promoted too:
    the store records who did it, when and why. A rejected version is accepted first, because no
    scorer would serve it otherwise. For a version that needs no force, nothing is recorded.
    ``seen`` is the pointer that the user saw when deciding.

    Raises:
        UnknownVersion: it does not exist or is incomplete.
        CannotServe: it does not load.
        NeedsForce: it was rejected, or refused by its gate, and there is no ``override``.
        PointerMoved: the pointer was moved, or is not the one ``seen``.
    """
    pointer = store.current()
    _require_seen(pointer, seen)
    rejected = store.rejected()
    is_promoted = pointer is not None and pointer.version == version
    if is_promoted and version not in rejected and override is None:
        assert pointer is not None  # noqa: S101 - for mypy
        return pointer
    require_version(store, version)
    if version in rejected and override is None:
        raise NeedsForce(
            f"{version} was rejected by a scorer: {why(rejected, version)}; scorers will not "
            f"serve it until you run fraud-trainer models accept {version} --reason TEXT (promote "
            "--force does both)",
            is_rejected=True,
            reasons=(why(rejected, version) or "",),
        )
    try:
        bundle = load_bundle(
            store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys)
        )
    except ArtifactError as error:
        raise CannotServe(f"cannot serve {version}: {error}") from error
    has_failed = check_gate(version, bundle.metadata, override)
    if version in rejected and override is not None:
        accept_version(store, version, override)
    is_needed = has_failed or version in rejected
    try:
        return store.promote(
            version, pointer, is_rollback=is_rollback, override=override if is_needed else None
        )
    except StoreConflict as error:
        raise PointerMoved(
            f"another promotion happened at the same time: {error}; check with fraud-trainer "
            "models list, and retry if needed"
        ) from error


def _require_seen(pointer: Pointer | None, seen: Seen | None) -> None:
    found = Seen.of(pointer)
    if seen is not None and seen != found:
        raise PointerMoved(
            f"another promotion happened meanwhile: {found.version or 'no version'} is promoted "
            f"now, and {seen.version or 'no version'} was when you decided"
        )


def check_gate(version: str, metadata: Mapping[str, Any], override: Override | None) -> bool:
    """Whether the gate refused a version that is to be promoted.

    Raises:
        NeedsForce: it did, and there is no ``override``.
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
        refusals = gate_refusals(metadata)
        raise NeedsForce(
            f"{version} was refused by its gate: {'; '.join(refusals)}. To promote "
            f"it all the same, run fraud-trainer models promote {version} --force --reason TEXT",
            is_rejected=False,
            reasons=refusals,
        )
    return True


def accept_version(store: ArtifactStore, version: str, override: Override) -> bool:
    """Lift a version's rejection permanently: no guard judges it again.

    The store records who did it, when and why.

    Returns:
        Whether it was rejected.

    Raises:
        UnknownVersion: it does not exist.
    """
    require_version(store, version)
    return store.readmit(
        version,
        {
            "version": version,
            "by": override.by,
            "reason": override.reason,
            "was_rejected": why(store.rejected(), version),
            "host": socket.gethostname(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def previous_version(store: ArtifactStore, *, is_forced: bool = False) -> tuple[Pointer, str]:
    """The pointer, and the last version promoted before it that is not rejected.

    A version that its gate refused, and that was promoted by force, is passed over unless
    ``is_forced``: one should not get back to it in a hurry without a word.

    Raises:
        NothingToRollBackTo: no version is promoted, or none was promoted before it.
        NeedsForce: only versions that their gates refused were promoted before it.
    """
    pointer = store.current()
    if pointer is None:
        raise NothingToRollBackTo(f"cannot roll back: no version is promoted in {store.where}")
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
    if refused and succession.is_recorded:
        names = ", ".join(refused)
        raise NeedsForce(
            f"cannot roll back from {pointer.version}: {names} was refused by the gate and "
            "promoted by force, and no other version was promoted before it. To go there all the "
            "same, run fraud-trainer models rollback --force --reason TEXT",
            is_rejected=False,
            reasons=(f"{names} was refused by its gate and promoted by force",),
        )
    raise NothingToRollBackTo(
        f"cannot roll back from {pointer.version}: every version promoted before it is rejected "
        "or gone, or there is none"
    )


def roll_back(
    store: ArtifactStore,
    settings: StoreSettings,
    override: Override | None = None,
    seen: Seen | None = None,
) -> tuple[str, str]:
    """Promote the previous version; returns the version left and the one now promoted.

    With ``override``, that may be a version that its gate refused. ``seen`` is the pointer that the
    user saw when deciding.

    Raises:
        UsageError: see :func:`previous_version` and :func:`promote_version`.
    """
    pointer, version = previous_version(store, is_forced=override is not None)
    seen = seen or Seen.of(pointer)
    promote_version(store, settings, version, override=override, is_rollback=True, seen=seen)
    return pointer.version, version
