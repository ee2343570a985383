"""The few operations an artifact store needs of the place its bytes are in.

Each implementation says the same with other means: conditional requests on S3, hard links and a
lock on a file system, a dictionary in tests. What versions, pointers and markers mean is written
once, in :mod:`stream_scorer.model.store.layout_store`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read, and the token that a compare-and-set of it needs."""

    content: bytes
    token: str


class Objects(Protocol):
    """Named byte strings with atomic writes: a reader sees a whole object or none.

    Keys are relative, with ``/`` between parts, and made by :mod:`store_layout` alone. Every
    method raises StoreError, with a message for people, where the place cannot be reached or
    refuses.
    """

    @property
    def where(self) -> str:
        """The place, as its URI."""

    def read(
        self, key: str, max_bytes: int, known: StoredObject | None = None
    ) -> StoredObject | None:
        """The object, or None where there is none.

        ``known`` itself is returned, without moving its bytes again, while its token still holds.

        Raises:
            StoreError: it has more than ``max_bytes``; it is refused before it is read.
        """

    def create(self, key: str, content: bytes) -> bool:
        """Write a new object; False, and nothing changed, where one is there already."""

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        """Write the object if its token still is ``expected`` (None: if there is none).

        Returns:
            The new token.

        Raises:
            StoreConflict: somebody else was first.
        """

    def overwrite(self, key: str, content: bytes) -> None:
        """Write the object whatever was there."""

    def remove(self, key: str) -> None:
        """Delete the object if it is there."""

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with ``prefix``, in any order."""
