"""Decides whether a process that ended by itself is started again, as a cluster would."""

from __future__ import annotations

from typing import Final

QUICK_SECONDS: Final = 30.0
"""A process that ends sooner than this after its start is unlikely to work the next time."""

QUICK_ENDS: Final = 3
"""After this number of quick ends in a row, the cause will not go away by itself."""


class Restarts:
    """Counts the ends of one process."""

    def __init__(self) -> None:
        self.count = 0
        self._quick = 0

    def may_restart(self, lived_seconds: float) -> bool:
        """Whether to start the process again after it lived this long."""
        self._quick = self._quick + 1 if lived_seconds < QUICK_SECONDS else 0
        if self._quick >= QUICK_ENDS:
            return False
        self.count += 1
        return True
