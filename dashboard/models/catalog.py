"""Reads the versions of the artifact store. The metadata of a version is read once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboard.models.facts import as_time, describe_gate, find, number, text
from stream_scorer.errors import StoreError, UsageError
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.store.promotions import Promotion, last_promotion
from stream_scorer.model.versions.listing import (
    describe_acceptance,
    describe_force,
    fetch_metadata,
    why,
)
from stream_scorer.model.versions.promoting import previous_version
from stream_scorer.model.versions.reports import ReportFacts, find_report, read_report

MAX_VERSIONS: Final = 50
"""The newest versions that are listed. Each costs one request to the store, once."""

log = logging.getLogger(__name__)

_NO_ANSWER: Final = "the artifact store did not answer"  # its own words may name hosts
_MAX_SUMMARIES: Final = 500
_MAX_METADATA: Final = 4  # whole metadata, of up to 8 MB each


@dataclass(frozen=True, slots=True)
class Summary:
    """What the list shows of a version. It never changes."""

    created_at: str
    rows: float | None
    average_precision: float | None
    recall: float | None
    review_threshold: float | None
    gate: Mapping[str, Any]
    problem: str = ""
    training: str | None = None
    """The id of the training that published it, if it was started on demand or in a cluster."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version, and what the store says about it now."""

    name: str
    summary: Summary
    is_promoted: bool
    rejection: str | None
    acceptance: str | None
    forced: str | None

    def as_json(self) -> dict[str, Any]:
        """The version as JSON."""
        summary = self.summary
        return {
            "version": self.name,
            "is_promoted": self.is_promoted,
            "created_at": summary.created_at or None,
            "rows": summary.rows,
            "average_precision": summary.average_precision,
            "recall_top_2_percent": summary.recall,
            "review_threshold": summary.review_threshold,
            "gate": dict(summary.gate),
            "rejection": self.rejection,
            "acceptance": self.acceptance,
            "forced": self.forced,
            "problem": summary.problem or None,
            "training": summary.training,
        }


@dataclass(frozen=True, slots=True)
class Overview:
    """The store now: versions and promotions, newest first.

    ``previous`` is the version that a rollback goes to, or why there is none.
    """

    promoted: str | None
    versions: list[Version]
    older: int
    promotions: list[Promotion]
    previous: str | None
    no_previous: str


@dataclass(frozen=True, slots=True)
class StoredReport:
    """An evaluation report, and what the metadata says of it."""

    facts: ReportFacts
    content: bytes


class Catalog:
    """The store behind a cache of what never changes. Any thread may use it; every call blocks."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._summaries: OrderedDict[str, Summary] = OrderedDict()
        self._metadata: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def overview(self) -> Overview:
        """The newest versions and their status.

        Raises:
            StoreError: the store cannot be reached.
        """
        store = self.store
        pointer, rejected, promotions = store.current(), store.rejected(), store.history()
        acceptances = store.acceptances()
        names = store.versions()
        promoted = None if pointer is None else pointer.version
        shown = names[-MAX_VERSIONS:]
        if promoted in names and promoted not in shown:
            shown = [promoted, *shown]
        versions = [
            Version(
                name,
                self._summary(name),
                name == promoted,
                why(rejected, name),
                describe_acceptance(acceptances.get(name)),
                describe_force(last_promotion(promotions, name)),
            )
            for name in reversed(shown)
        ]
        previous, no_previous = self._previous()
        return Overview(
            promoted,
            versions,
            len(names) - len(shown),
            list(reversed(promotions)),
            previous,
            no_previous,
        )

    def metadata(self, version: str) -> dict[str, Any]:
        """The metadata of a version.

        Raises:
            UnknownVersion: the store has no such version.
            UsageError: its metadata cannot be read.
            StoreError: the store cannot be reached.
        """
        with self._lock:
            if version in self._metadata:
                self._metadata.move_to_end(version)
                return self._metadata[version]
        found = fetch_metadata(self.store, version)
        with self._lock:
            self._metadata[version] = found
            if len(self._metadata) > _MAX_METADATA:
                self._metadata.popitem(last=False)
        return found

    def report(self, version: str) -> StoredReport | None:
        """The evaluation report of a version, which is the one that was published.

        Raises:
            ArtifactCorrupt: the store has another one, or has lost it.
            UnknownVersion, UsageError, StoreError: see :meth:`metadata`.
        """
        metadata = self.metadata(version)
        facts = find_report(metadata)
        content = read_report(self.store, version, metadata)
        return None if facts is None or content is None else StoredReport(facts, content)

    def _summary(self, version: str) -> Summary:
        with self._lock:
            if version in self._summaries:
                return self._summaries[version]
        try:
            summary = summarize(fetch_metadata(self.store, version))
        except UsageError as error:
            summary = Summary("", None, None, None, None, describe_gate({}), str(error))
        except StoreError as error:  # it may answer next time
            log.warning("the metadata of %s cannot be read: %s", version, error)
            return Summary("", None, None, None, None, describe_gate({}), _NO_ANSWER)
        with self._lock:
            self._summaries[version] = summary
            if len(self._summaries) > _MAX_SUMMARIES:
                self._summaries.popitem(last=False)
        return summary

    def _previous(self) -> tuple[str | None, str]:
        try:
            return previous_version(self.store)[1], ""
        except UsageError as error:
            return None, str(error)
        except StoreError as error:
            log.warning("the previous version cannot be read: %s", error)
            return None, _NO_ANSWER


def summarize(metadata: Mapping[str, Any]) -> Summary:
    """What the list shows of a version's metadata."""
    test = find(metadata, "metrics", "test")
    training = find(metadata, "requested", "id")
    return Summary(
        as_time(text(metadata.get("created_at", ""))),
        number(find(metadata, "training", "rows")),
        number(find(test, "average_precision")),
        number(find(test, "top", "0.02", "recall")),
        number(find(metadata, "thresholds", "review")),
        describe_gate(metadata),
        training=text(training) if isinstance(training, str) else None,
    )
