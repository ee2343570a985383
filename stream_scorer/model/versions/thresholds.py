"""Publishes a version with the model of another one and other thresholds.

Nothing that exists is changed: the new version has the same model, preprocessor and report bytes,
its own metadata with its origin, and a signature of its own. It is promoted like any other version.
The report stays that of the version which was evaluated, and the metadata says so.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.errors import ArtifactCorrupt, ArtifactError, UsageError
from stream_scorer.model.bundle import Thresholds, load_bundle
from stream_scorer.model.signing import load_signing_key, parse_trusted_keys, sign
from stream_scorer.model.store.names import METADATA, MODEL, PREPROCESSOR, REPORT, SIGNATURE
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.listing import require_version
from stream_scorer.model.versions.promoting import CannotServe
from stream_scorer.model.versions.reports import read_report
from stream_scorer.model.versions.threshold_figures import estimate_figures
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.settings import StoreSettings

log = logging.getLogger(__name__)

NEVER: Final = 2.0
"""The largest threshold: one above 1 means "never". Audits call larger ones implausible."""

_OF_THE_RUN: Final = ("promotion", "origin")
"""Parts of the metadata that are about the version itself, and not about its model."""
_AT_THRESHOLDS: Final = ("review", "block")


class UnusableThresholds(UsageError):
    """These thresholds cannot be published."""


@dataclass(frozen=True, slots=True)
class Rethresholded:
    """A published version, what it was made of, and what its thresholds mean on the test rows."""

    version: str
    origin: str
    before: Thresholds
    after: Thresholds
    figures: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "published": self.version,
            "origin": self.origin,
            "before": {"review": self.before.review, "block": self.before.block},
            "thresholds": {"review": self.after.review, "block": self.after.block},
            "estimated": dict(self.figures),
        }


def publish_thresholds(
    store: ArtifactStore,
    settings: StoreSettings,
    origin: str,
    review: float | None,
    block: float | None,
    who: Override,
) -> Rethresholded:
    """Publish ``origin`` with other thresholds; one that is None stays. Nothing is promoted.

    Args:
        store: the artifact store.
        settings: name the keys to sign and verify with.
        origin: the version whose model it is.
        review: the score at and above which a transaction is reviewed.
        block: the score at and above which it is blocked.
        who: who does it, and why.

    Raises:
        UnknownVersion: there is no such version.
        CannotServe: it does not load as a scorer would load it.
        UnusableThresholds: of range or order, or the same as before; or it could not be signed.
        SettingsError: a key cannot be used.
        StoreError: the store cannot be read or written.
    """
    require_version(store, origin)
    keys = parse_trusted_keys(settings.model_trusted_keys)
    key = _signing_key(settings)
    files = store.fetch(origin)
    try:
        before = load_bundle(files, origin, keys).thresholds
    except ArtifactError as error:
        raise CannotServe(f"cannot use {origin}: {error}") from error
    after = Thresholds(
        before.review if review is None else review, before.block if block is None else block
    )
    check_thresholds(after, before, origin)
    metadata = parse_object(files[METADATA])
    report = _report(store, origin, metadata)
    figures = {
        name: found
        for name in _AT_THRESHOLDS
        if (found := estimate_figures(metadata, getattr(after, name))) is not None
    }

    def rest(version: str) -> dict[str, bytes]:
        changed = change_metadata(metadata, version, before, after, who, origin)
        encoded = json.dumps(changed, indent=1).encode()
        found = {PREPROCESSOR: files[PREPROCESSOR], METADATA: encoded, **report}
        return found if key is None else found | {SIGNATURE: sign(encoded, key)}

    version = store.publish(files[MODEL], rest)
    try:
        load_bundle(store.fetch(version), version, keys)
    except ArtifactError as error:
        raise CannotServe(f"{version} was published, but cannot be loaded: {error}") from error
    return Rethresholded(version, origin, before, after, figures)


def _report(store: ArtifactStore, origin: str, metadata: dict[str, Any]) -> dict[str, bytes]:
    """The report of the origin as a file; without one that can be used, ``metadata`` names none."""
    try:
        content = read_report(store, origin, metadata)
    except ArtifactCorrupt as error:
        log.warning("the new version has no report: %s", error)
        content = None
    if content is not None:
        return {REPORT: content}
    metadata["files"].pop(REPORT, None)
    return {}


def _signing_key(settings: StoreSettings) -> Ed25519PrivateKey | None:
    path = settings.model_signing_key_file
    if path is not None:
        return load_signing_key(path)
    if settings.model_trusted_keys is not None:
        raise UnusableThresholds(
            "MODEL_TRUSTED_KEYS is set, so that an unsigned version would not be loaded: set "
            "MODEL_SIGNING_KEY_FILE, or run fraud-trainer models threshold where it is set"
        )
    return None


def check_thresholds(after: Thresholds, before: Thresholds, origin: str) -> None:
    """Check thresholds to publish.

    Raises:
        UnusableThresholds: of range or order, or the same as before.
    """
    for name in _AT_THRESHOLDS:
        value = getattr(after, name)
        if not (math.isfinite(value) and 0 < value <= NEVER):
            raise UnusableThresholds(
                f"the {name} threshold is {value!r}, but it must be above 0 and at most 1 (or up "
                f"to {NEVER:g}, which means never)"
            )
    if after.review > after.block:
        raise UnusableThresholds(
            f"the review threshold {after.review!r} is above the block threshold {after.block!r}: "
            "review must be at most block"
        )
    if after == before:
        raise UnusableThresholds(
            f"{origin} has these thresholds already: {before.review!r} (review) and "
            f"{before.block!r} (block)"
        )


def change_metadata(
    metadata: Mapping[str, Any],
    version: str,
    before: Thresholds,
    after: Thresholds,
    who: Override,
    origin: str,
) -> dict[str, Any]:
    """The metadata of the new version.

    What described the old thresholds is replaced by estimates on the same test rows, or left out:
    the guard compares the flag rate with them.
    """
    changed = {name: value for name, value in metadata.items() if name not in _OF_THE_RUN}
    method = f"set by {who.by} instead of the one of {origin}: {who.reason}"
    changed["version"] = version
    changed["thresholds"] = {"review": after.review, "block": after.block}
    for name in _AT_THRESHOLDS:
        if getattr(after, name) != getattr(before, name):
            changed["thresholds"][f"{name}_method"] = method
    metrics = metadata.get("metrics")
    if isinstance(metrics, Mapping):
        changed["metrics"] = {
            part: _without_old_figures(part, figures, metadata, before, after)
            for part, figures in metrics.items()
        }
    changed["origin"] = {
        "kind": "thresholds",
        "version": origin,
        "by": who.by,
        "reason": who.reason,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "review": before.review,
        "block": before.block,
    }
    return changed


def _without_old_figures(
    part: str,
    figures: Any,
    metadata: Mapping[str, Any],
    before: Thresholds,
    after: Thresholds,
) -> Any:
    if not isinstance(figures, Mapping):
        return figures
    found = dict(figures)
    for name in _AT_THRESHOLDS:
        if getattr(after, name) == getattr(before, name) or name not in found:
            continue
        estimate = estimate_figures(metadata, getattr(after, name)) if part == "test" else None
        if estimate is None:
            del found[name]
        else:
            found[name] = estimate
    return found
