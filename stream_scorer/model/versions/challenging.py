"""Lets a version score in shadow beside the champion, or ends that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream_scorer.errors import ArtifactError, StoreConflict, UsageError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.versions.listing import fetch_metadata, require_version, why
from stream_scorer.runtime.settings import StoreSettings


class Challenged(NamedTuple):
    """The champion, the challenger from now on, and the challenger before; None: none."""

    champion: str | None
    challenger: str | None
    previous: str | None


def challenge_version(store: ArtifactStore, settings: StoreSettings, version: str) -> Challenged:
    """Let ``version`` score in shadow, after loading it as a scorer would.

    A version that its gate refused may challenge: nothing depends on its scores.

    Raises:
        UnknownVersion: it does not exist or is incomplete.
        UsageError: it is the champion, was rejected, cannot be loaded, or reads another card
            history than the champion.
    """
    pointer = store.current()
    if pointer is None:
        raise UsageError(
            f"no version is promoted in {store.where}, so there is nothing to challenge: run "
            f"fraud-trainer models promote {version}"
        )
    require_version(store, version)
    champion = pointer.version
    if version == champion:
        raise UsageError(f"{version} is the promoted version: it cannot challenge itself")
    rejected = store.rejected()
    if version in rejected:
        raise UsageError(
            f"{version} was rejected by a scorer: {why(rejected, version)}; to let it score in "
            f"shadow, run fraud-trainer models accept {version} --reason TEXT first"
        )
    files = store.fetch(version)
    try:
        bundle = load_bundle(files, version, parse_trusted_keys(settings.model_trusted_keys))
    except ArtifactError as error:
        raise UsageError(f"cannot score with {version}: {error}") from error
    _require_same_history(champion, fetch_metadata(store, champion), version, bundle.metadata)
    return _move(store, version)


def end_challenge(store: ArtifactStore) -> Challenged:
    """End the shadow scoring.

    Raises:
        UsageError: another command changed the challenger at the same time.
    """
    return _move(store, None)


def history_of(metadata: Mapping[str, Any]) -> str | None:
    """The fingerprint of the card history that a version reads; None: it reads none."""
    history = metadata.get("history")
    found = history.get("fingerprint") if isinstance(history, Mapping) else None
    return found if isinstance(found, str) else None


def _require_same_history(
    champion: str, theirs: Mapping[str, Any], version: str, own: Mapping[str, Any]
) -> None:
    wanted = history_of(own)
    if wanted is not None and wanted != history_of(theirs):
        raise UsageError(
            f"{version} reads another card history than the promoted version {champion}, and "
            "scorers keep only the champion's: compare the two by stream-scorer replay --model "
            f"{version} --against {champion} --out FILE, then fraud-trainer models compare "
            f"{champion} {version} --replay FILE"
        )


def _move(store: ArtifactStore, version: str | None) -> Challenged:
    before, pointer = store.challenger(), store.current()
    champion = None if pointer is None else pointer.version
    if before.version != version:
        try:
            store.challenge(version, before)
        except StoreConflict as error:
            raise UsageError(
                f"another command changed the challenger at the same time: {error}; check with "
                "fraud-trainer models list, and retry if needed"
            ) from error
    return Challenged(champion, version, before.version)
