"""The scorers' verdicts on versions, shared through the store so that all scorers agree."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from stream_scorer.errors import StoreError
from stream_scorer.model.serving.guard import Trip
from stream_scorer.model.store.port import ArtifactStore

log = logging.getLogger(__name__)


class Verdicts:
    """This process's verdicts, including those not yet written to the store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._decided: set[str] = set()
        self.pending: dict[str, dict[str, Any]] = {}
        """Markers of versions that this process rejected, not yet written to the store."""

    def is_decided(self, version: str) -> bool:
        """Whether this process no longer judges a version."""
        return version in self._decided

    def mark_decided(self, version: str) -> None:
        """Stop judging a version in this process."""
        self._decided.add(version)

    def is_accepted(self, version: str) -> bool:
        """Whether a scorer or a person accepted a version, and no guard rejected it.

        Raises:
            StoreError: the store did not answer.
        """
        return version in self._store.accepted()

    def accept(self, version: str, figures: Mapping[str, float]) -> None:
        """Mark a version as accepted in the store.

        Raises:
            StoreError: the marker could not be written.
        """
        self._store.accept(version, {"version": version, "figures": dict(figures), **_signed()})

    def reject(self, version: str, trip: Trip, fallback: str) -> None:
        """Record that a version is rejected; :meth:`publish` writes it to the store."""
        self.pending[version] = {
            "version": version,
            "guard": trip.cause,
            "reason": trip.reason,
            "figures": dict(trip.figures),
            "fallback": fallback,
            **_signed(),
        }

    def added_to(self, rejected: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The store's markers and the pending ones."""
        return {**self.pending, **rejected}

    def publish(self, forget: Callable[[str], None]) -> str | None:
        """Write the pending markers to the store; returns what prevents it, if anything.

        A version that was accepted before is not rejected: it has passed. If it is accepted and
        rejected at the same time, the rejection wins for every scorer. ``forget`` is called with
        each version that must not be served from a cache.
        """
        for version, marker in list(self.pending.items()):
            forget(version)
            try:
                if self.is_accepted(version):
                    log.warning("not rejecting version %s: it was accepted elsewhere", version)
                    self.mark_decided(version)
                elif self._store.reject(version, marker):
                    log.info("marked version %s as rejected in the store", version)
            except StoreError as error:
                return f"cannot mark version {version} as rejected in the store: {error}"
            del self.pending[version]
        return None


def _signed() -> dict[str, str]:
    return {
        "host": socket.gethostname(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
