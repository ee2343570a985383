"""Tracking for the commands: a version from the store, with its report, in MLflow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stream_scorer.errors import ArtifactCorrupt, StoreError, UsageError
from stream_scorer.model.store.names import METADATA, REPORT
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.versions.listing import fetch_metadata
from stream_scorer.model.versions.reports import read_report
from stream_scorer.runtime.json_limits import parse_object
from trainer.publishing.tracking import NoTracker, Tracker, follow_pointer, track_version
from trainer.publishing.tracking_client import Outcome
from trainer.report import build_page

log = logging.getLogger(__name__)


def finish_tracking(
    tracker: Tracker, store: ArtifactStore, version: str, *, is_champion: bool
) -> None:
    """Report the published version to the tracker; a store that fails now is only logged."""
    if isinstance(tracker, NoTracker):
        return
    try:
        metadata, files = _read(store, version)
    except (StoreError, UsageError, ValueError) as error:
        log.warning("%s is published, but it cannot be read to track it: %s", version, error)
        tracker.fail(error)
        return
    tracker.finish(metadata, files, is_champion=is_champion)


def track(uri: str | None, store: ArtifactStore, version: str) -> Outcome | None:
    """Track a published version afterwards, and its alias if the pointer names it.

    Returns:
        What became of it; None without a server.

    Raises:
        StoreError, UsageError: the version cannot be read.
    """
    if not uri:
        return None
    metadata, files = _read(store, version)
    pointer = store.current()
    is_champion = pointer is not None and pointer.version == version
    return track_version(uri, store.where, metadata, files, is_champion=is_champion)


def align_alias(uri: str | None, store: ArtifactStore) -> Outcome | None:
    """Let MLflow's alias name what the pointer names; any problem is only logged."""
    if not uri:
        return None
    try:
        pointer = store.current()
        if pointer is None:
            return None
        metadata = fetch_metadata(store, pointer.version)
    except (StoreError, UsageError) as error:
        log.warning("the alias champion in MLflow was not moved: %s", error)
        return None
    return follow_pointer(uri, metadata)


def _read(store: ArtifactStore, version: str) -> tuple[Mapping[str, Any], dict[str, bytes]]:
    """A version's metadata, and its files with its report."""
    files = store.fetch(version)
    metadata = parse_object(files[METADATA])
    try:
        page = read_report(store, version, metadata)
        if page is None:  # published by an earlier release
            page = build_page(metadata).encode()
    except (ArtifactCorrupt, StoreError, UsageError) as error:
        log.warning("%s is tracked without its report: %s", version, error)
        return metadata, files
    return metadata, {**files, REPORT: page}
