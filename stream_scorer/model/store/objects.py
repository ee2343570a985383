"""The operations an artifact store needs from its object storage.

Each implementation uses other means: conditional requests on S3, hard links and a lock on a file
system, a dictionary in tests. The rules for versions, pointers and markers are written once, in
:mod:`stream_scorer.model.store.layout_store`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's content, and the token for a compare-and-set."""

    content: bytes
    token: str


class Objects(Protocol):
    """Named byte strings with atomic writes: a reader sees a complete object or none.

    Keys are relative, with ``/`` between parts; only :mod:`stream_scorer.model.store.names` builds
    them. Every method raises StoreError, with a message for people, if the storage cannot be
    reached or refuses the request.
    """

    @property
    def where(self) -> str:
        """The storage's URI."""

    def read(
        self, key: str, max_bytes: int, known: StoredObject | None = None
    ) -> StoredObject | None:
        """The object, or None if it does not exist.

        If the object still has the token of ``known``, returns ``known`` without reading again.

        Raises:
            StoreError: the object has more than ``max_bytes``; this is checked before reading.
        """

    def read_head(self, key: str, count: int) -> bytes | None:
        """The first ``count`` bytes, or all if the object has fewer; None if it does not exist.

        Use it for the header of a large object: the rest is not read.
        """

    def create(self, key: str, content: bytes) -> bool:
        """Write a new object; if it already exists, returns False and changes nothing."""

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        """Write the object if its token is still ``expected`` (None: if it does not exist).

        Returns:
            The new token.

        Raises:
            StoreConflict: another process wrote it first.
        """

    def overwrite(self, key: str, content: bytes) -> None:
        """Write the object unconditionally."""

    def remove(self, key: str) -> None:
        """Delete the object if it exists."""

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with ``prefix``, in any order."""
