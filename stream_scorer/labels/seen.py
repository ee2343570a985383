"""Which decisions of the desk were read already. Pure.

A decision that was sent to two dashboards while Kafka was down may be written by both. Readers
keep the first record of an id in a partition, where all of them read the same order.
"""

from __future__ import annotations

from typing import Final

import numpy as np

_CHUNK: Final = 50_000  # ids as Python objects, before they become eight bytes each


class SeenDecisions:
    """The ids that were read, eight bytes each. Used by one thread."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.int64)  # in ascending order
        self._fresh = set[int]()

    def is_repeated(self, partition: int, decision_id: bytes | None) -> bool:
        """Whether a record repeats a decision of its partition. It is remembered."""
        if decision_id is None:
            return False
        one = hash((partition, decision_id))
        at = int(np.searchsorted(self._kept, one))
        if one in self._fresh or (at < len(self._kept) and self._kept[at] == one):
            return True
        self._fresh.add(one)
        if len(self._fresh) >= _CHUNK:
            fresh = np.fromiter(self._fresh, np.int64, len(self._fresh))
            self._kept = np.sort(np.concatenate([self._kept, fresh]))
            self._fresh.clear()
        return False
