"""A cache that keeps the entries used last."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentlyUsed(Generic[K, V]):
    """A mapping that :meth:`trim` cuts to the entries used last; safe to share between threads.

    It grows until it is trimmed, so that all entries one batch needs stay in it together.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: dict[K, V] = {}  # the entry used last comes last

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which becomes the one used last; None if there is none."""
        with self._lock:
            if key not in self._entries:
                return None
            value = self._entries[key] = self._entries.pop(key)
            return value

    def put(self, key: K, value: V) -> None:
        """Add or replace a value."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = value

    def trim(self) -> None:
        """Remove the entries unused for longest, down to the capacity."""
        with self._lock:
            for key in list(self._entries)[: max(0, len(self._entries) - self._capacity)]:
                del self._entries[key]
