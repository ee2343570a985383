"""The stored transactions by score, decided or not. No page counts them: they change with ticks."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dashboard.cache.listed import Listed


class Distribution:
    """Thread-safe. The feed notes what is stored, whoever follows the cases what is decided."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listed = Listed()
        self._decided: Sequence[int] = Listed().bins
        self._changes = 0

    def note_listed(self, listed: Listed) -> None:
        """Set what is stored."""
        with self._lock:
            self._changes += listed.removals != self._listed.removals
            self._listed = listed

    def note_decided(self, bins: Sequence[int]) -> None:
        """Set what is decided of it."""
        with self._lock:
            self._decided = bins

    def note_change(self) -> None:
        """Other rows than before are stored, so that the decided ones must be counted again."""
        with self._lock:
            self._changes += 1

    @property
    def changes(self) -> int:
        """Grows with each deletion, and when the feed has caught up."""
        with self._lock:
            return self._changes

    @property
    def listed(self) -> Listed:
        """What is stored."""
        with self._lock:
            return self._listed

    def as_json(self) -> dict[str, list[int]]:
        """Both parts by bin. A decided row may be counted a moment before it is stored."""
        with self._lock:
            pairs = list(zip(self._listed.bins, self._decided, strict=True))
        return {
            "open": [max(0, listed - decided) for listed, decided in pairs],
            "decided": [min(listed, decided) for listed, decided in pairs],
        }
