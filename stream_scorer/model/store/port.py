"""The port to the artifact store: immutable versions, one pointer, rejection markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stream_scorer.model.store.promotions import Promotion


@dataclass(frozen=True, slots=True)
class Pointer:
    """The promoted version, as it was when it was read."""

    version: str
    token: str
    """Opaque; hand the pointer back to :meth:`ArtifactStore.promote` for the compare-and-set."""


class ArtifactStore(Protocol):
    """Where bundles are published and found.

    Every method raises StoreError, with a message for people, where the store cannot be reached
    or refuses. Safe for use from several threads and processes at once.
    """

    @property
    def where(self) -> str:
        """The store's URI."""

    def current(self) -> Pointer | None:
        """The promoted version, or None before the first promotion. Cheap: made to be polled.

        Raises:
            StoreError: the pointer holds no version.
        """

    def versions(self) -> list[str]:
        """The complete versions, oldest first."""

    def fetch(self, version: str) -> dict[str, bytes]:
        """The files of a version by name; only their sizes have been checked.

        Raises:
            StoreError: the version is unknown or incomplete, or a file is too large.
        """

    def publish(self, model: bytes, rest: Callable[[str], Mapping[str, bytes]]) -> str:
        """Write a new version; nothing that is there is ever changed.

        ``model.pkl`` claims the number. ``rest`` is then called with the version and returns
        preprocessor.pkl, metadata.json and perhaps metadata.json.sig. A publisher that dies half
        way leaves an incomplete version, which is a gap and nothing more.

        Returns:
            The new version.
        """

    def promote(
        self, version: str, expected: Pointer | None, *, is_rollback: bool = False
    ) -> Pointer:
        """Point to ``version`` if the pointer still is ``expected`` (None: if there is none).

        The history says so before the pointer moves.

        Raises:
            StoreConflict: somebody else moved the pointer in the meantime.
            StoreError: the version is unknown or incomplete.
        """

    def rejected(self) -> dict[str, dict[str, Any]]:
        """The versions marked as rejected, with the reasons."""

    def reject(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Mark a version; False if it was marked before (the first reason stays)."""

    def accepted(self) -> set[str]:
        """The versions that have passed their probation, and are not rejected.

        No guard rejects one of these. A guard that tripped in the moment another scorer said that
        the version is good may mark it all the same; then there are both markers, and the
        rejection counts, here as in :meth:`rejected`, until :meth:`readmit` lifts it.
        """

    def accept(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Say that a version has passed; False if that was known."""

    def readmit(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Accept a version and lift its rejection; False if it was not rejected."""

    def history(self) -> list[Promotion]:
        """The promotions there were, oldest first."""
