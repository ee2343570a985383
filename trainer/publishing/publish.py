"""Publishes a candidate as a version in the store, and promotes it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from stream_scorer.errors import ArtifactError, StoreConflict, UsageError
from stream_scorer.model.bundle import Bundle, Draft, build_files, load_bundle
from stream_scorer.model.signing import load_signing_key, parse_trusted_keys, sign
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.names import METADATA, SIGNATURE
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.promotions import Override, Promotion
from stream_scorer.model.store.succession import failed_its_gate, find_succession
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.settings import StoreSettings
from trainer.history.seed import Seed
from trainer.publishing.stored_report import add_report

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Champion:
    """The pointer at the start of a run, and the version to beat, which is the one that serves.

    They differ if scorers rejected the promoted version. ``bundle`` is None if this code cannot
    load the version. ``last`` is the last recorded promotion, for :func:`intention`.
    """

    pointer: Pointer | None
    bundle: Bundle | None
    version: str | None
    last: Promotion | None = None


def load_champion(store: ArtifactStore, settings: StoreSettings) -> Champion:
    """The version to beat.

    Raises:
        StoreError: the store cannot be reached.
    """
    pointer = store.current()
    last = next(reversed(store.history()), None)
    if pointer is None:
        return Champion(None, None, None, last)
    version = pointer.version
    rejected = store.rejected()
    if version in rejected:
        succession = find_succession(store, version, rejected)
        version = next(succession.in_order(partial(_failed_gate, store)), version)
    try:
        bundle = load_bundle(
            store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys)
        )
    except ArtifactError as error:
        log.warning("cannot compare with champion %s: %s", version, error)
        return Champion(pointer, None, version, last)
    return Champion(pointer, bundle, version, last)


def _failed_gate(store: ArtifactStore, version: str) -> bool:
    try:
        return failed_its_gate(parse_object(store.fetch(version)[METADATA]))
    except ValueError:
        return False  # loading it gives the reason


def intention(champion: Champion, *, wanted: bool) -> dict[str, Any]:
    """What the metadata says about the promotion that follows, for ``fraud-trainer resume``.

    ``wanted`` says whether the run means to promote the version if nobody else promotes one.
    """
    return {
        "wanted": wanted,
        "expected": None if champion.pointer is None else champion.pointer.version,
        "token": None if champion.pointer is None else champion.pointer.token,
        "last": None if champion.last is None else asdict(champion.last),
    }


def publish(
    store: ArtifactStore,
    draft: Draft,
    settings: StoreSettings,
    promotion: Mapping[str, Any] | None = None,
) -> str:
    """Write a new version with its report, signed if a key is set, and load it as a scorer would.

    ``promotion`` is the run's :func:`intention`.

    Raises:
        ArtifactError: the version does not load.
        SettingsError: the signing key cannot be used.
        StoreError: the store cannot be written.
    """
    path = settings.model_signing_key_file
    key = None if path is None else load_signing_key(path)
    if promotion is not None:
        draft = replace(draft, facts={**draft.facts, "promotion": promotion})
    model, rest = build_files(draft)

    def other_files(version: str) -> Mapping[str, bytes]:
        files = add_report(rest(version), version)
        return files if key is None else files | {SIGNATURE: sign(files[METADATA], key)}

    version = store.publish(model, other_files)
    load_bundle(store.fetch(version), version, parse_trusted_keys(settings.model_trusted_keys))
    return version


def publish_seed(histories: HistoryStore, seed: Seed) -> None:
    """Write the card histories that a version is about to name.

    Raises:
        StoreError: the store cannot be written.
    """
    histories.write_seed(seed.content)


def promote_candidate(
    store: ArtifactStore,
    version: str,
    has_passed: bool,
    expected: Pointer | None,
    override: Override | None,
) -> bool:
    """Promote a version that passed its gate, or that an operator forces past it.

    Returns:
        Whether it was promoted.

    Raises:
        UsageError: the pointer was moved since the run started.
        StoreError: the store cannot be written.
    """
    if not has_passed and override is None:
        return False
    promote(store, version, expected, None if has_passed else override)
    return True


def promote(
    store: ArtifactStore,
    version: str,
    expected: Pointer | None,
    override: Override | None = None,
) -> None:
    """Move the pointer, unless it was moved since the run started.

    Raises:
        UsageError: it was moved.
        StoreError: the store cannot be written.
    """
    try:
        store.promote(version, expected, override=override)
    except StoreConflict as error:
        was = "nothing" if expected is None else expected.version
        raise UsageError(
            f"{version} is published but not promoted: another promotion happened during this run "
            f"(the pointer was at {was} when it started). Check with fraud-trainer models list; to "
            f"serve this version, run fraud-trainer models promote {version}"
        ) from error
