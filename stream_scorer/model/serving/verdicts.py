"""What scorers found out about versions: said in the store, so that all of them agree."""

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
    """This process's verdicts, those of them the store has not heard yet, and what it says."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._settled: set[str] = set()
        self.pending: dict[str, dict[str, Any]] = {}
        """Markers of versions that were found out here and are not marked in the store yet."""

    def is_settled(self, version: str) -> bool:
        """Whether there is nothing more to find out about a version here."""
        return version in self._settled

    def settle(self, version: str) -> None:
        """Note that there is nothing more to find out."""
        self._settled.add(version)

    def is_accepted(self, version: str) -> bool:
        """Whether some scorer or person has said that a version is good, and no guard otherwise.

        Raises:
            StoreError: the store did not answer.
        """
        return version in self._store.accepted()

    def accept(self, version: str, figures: Mapping[str, float]) -> None:
        """Say that a version is good.

        Raises:
            StoreError: the store did not take it.
        """
        self._store.accept(version, {"version": version, "figures": dict(figures), **_signed()})

    def reject(self, version: str, trip: Trip, fallback: str) -> None:
        """Note that a version must go; :meth:`publish` tells the store."""
        self.pending[version] = {
            "version": version,
            "guard": trip.cause,
            "reason": trip.reason,
            "figures": dict(trip.figures),
            "fallback": fallback,
            **_signed(),
        }

    def added_to(self, rejected: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The store's markers and those it has not heard of yet."""
        return {**self.pending, **rejected}

    def publish(self, forget: Callable[[str], None]) -> str | None:
        """Write the markers that are not there yet; what is in the way, if anything.

        A version that somebody accepted before is not rejected: it has passed. Where both are
        said at the same moment, the rejection counts for everybody. ``forget`` is told which
        versions must not be served from a cache.
        """
        for version, marker in list(self.pending.items()):
            forget(version)
            try:
                if self.is_accepted(version):
                    log.warning("version %s was accepted elsewhere and is not rejected", version)
                    self.settle(version)
                elif self._store.reject(version, marker):
                    log.info("version %s is marked as rejected in the store", version)
            except StoreError as error:
                return f"version {version} cannot be marked as rejected: {error}"
            del self.pending[version]
        return None


def _signed() -> dict[str, str]:
    return {
        "host": socket.gethostname(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
