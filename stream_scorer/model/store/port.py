"""The port to the artifact store: immutable versions, one pointer, rejection markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stream_scorer.model.store.challenge_log import ChallengeRecord
from stream_scorer.model.store.promotions import Override, Promotion


@dataclass(frozen=True, slots=True)
class Pointer:
    """The promoted version at the time it was read."""

    version: str
    token: str
    """Opaque; pass the pointer to :meth:`ArtifactStore.promote` for the compare-and-set."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The version that scores in shadow at the time it was read; None: none does."""

    version: str | None
    token: str | None
    """Opaque; None before the first challenge. Pass this object to
    :meth:`ArtifactStore.challenge` for the compare-and-set."""


class ArtifactStore(Protocol):
    """Where bundles are published and fetched from.

    Every method raises StoreError, with a message for people, if the store cannot be reached or
    refuses the request. Several threads and processes may use a store at the same time.
    """

    @property
    def where(self) -> str:
        """The store's URI."""

    def current(self) -> Pointer | None:
        """The promoted version, or None before the first promotion. Cheap enough to poll.

        Raises:
            StoreError: the pointer does not name a version.
        """

    def versions(self) -> list[str]:
        """The complete versions, oldest first."""

    def incomplete(self) -> list[str]:
        """The versions that a publisher began and has not finished, oldest first."""

    def fetch(self, version: str) -> dict[str, bytes]:
        """What a scorer needs of a version, by name; only the sizes are checked.

        Raises:
            StoreError: the version is unknown or incomplete, or a file is too large.
        """

    def read_metadata(self, version: str) -> bytes:
        """The metadata of a version alone: a thousandth of the bytes of all its files.

        Raises:
            StoreError: the version is unknown or incomplete, or the file is too large.
        """

    def read_report(self, version: str) -> bytes | None:
        """The evaluation report of a version as it is stored; None if there is none.

        :func:`stream_scorer.model.versions.reports.read_report` also compares its digest.

        Raises:
            StoreError: the file is too large.
        """

    def find_ignored_condition(self) -> str | None:
        """What the storage does wrong if it ignores the conditions of writes; None if it does not.

        Raises:
            StoreError: the store refuses to be written with these credentials.
        """

    def publish(self, model: bytes, rest: Callable[[str], Mapping[str, bytes]]) -> str:
        """Write a new version; existing versions never change.

        ``model.pkl`` claims the number. ``rest`` is then called with the version and returns
        preprocessor.pkl, metadata.json and optionally metadata.json.sig and report.html. If a
        publisher dies halfway, it leaves an incomplete version, which readers ignore.

        Returns:
            The new version.

        Raises:
            StoreError: the storage ignores the conditions of writes.
        """

    def promote(
        self,
        version: str,
        expected: Pointer | None,
        *,
        is_rollback: bool = False,
        override: Override | None = None,
    ) -> Pointer:
        """Point to ``version`` if the pointer is still ``expected`` (None: if there is none).

        The promotion is recorded in the history before the pointer moves. ``override`` says who
        promotes by force, and why; then it is also recorded if the pointer names ``version``.

        Raises:
            StoreConflict: the pointer was moved in the meantime.
            StoreError: the version is unknown or incomplete, or the storage ignores the conditions
                of writes.
        """

    def challenger(self) -> Challenge:
        """The version that scores in shadow. Cheap enough to poll.

        Raises:
            StoreError: the pointer names neither a version nor ``none``.
        """

    def challenge(self, version: str | None, expected: Challenge) -> Challenge:
        """Let ``version`` score in shadow (None: no version), if it is still ``expected``.

        The move is recorded before it happens.

        Raises:
            StoreConflict: the challenger was changed in the meantime.
            StoreError: the version is unknown or incomplete, or the storage ignores the conditions
                of writes.
        """

    def challenges(self) -> list[ChallengeRecord]:
        """The last recorded challenges, oldest first."""

    def write_comparison(self, champion: str, challenger: str, content: bytes) -> None:
        """Replace the comparison of two versions.

        Raises:
            StoreError: it is too large.
        """

    def read_comparison(self, champion: str, challenger: str) -> bytes | None:
        """The newest comparison of two versions; None if there is none."""

    def rejected(self) -> dict[str, dict[str, Any]]:
        """The versions marked as rejected, with their markers."""

    def reject(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Mark a version as rejected; False if it already was (the first reason is kept)."""

    def accepted(self) -> set[str]:
        """The versions that passed their probation and are not rejected.

        No guard rejects one of these. If one scorer accepts a version while another's guard trips,
        both markers are written. Then the rejection counts, here as in :meth:`rejected`, until
        :meth:`readmit` lifts it.
        """

    def accept(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Mark a version as accepted; False if it already was."""

    def readmit(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Accept a version and lift its rejection; returns whether it was rejected."""

    def acceptances(self) -> dict[str, dict[str, Any]]:
        """The acceptance markers, also of versions that are rejected too."""

    def last_promotion(self, version: str) -> Promotion | None:
        """The last recorded promotion of ``version``, if it is a recent one. Cheap.

        Use it for the promoted version.
        """

    def history(self) -> list[Promotion]:
        """The recorded promotions, oldest first."""
