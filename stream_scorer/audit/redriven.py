"""Checks that no dead letter was redriven twice. Pure; eight bytes per redriven dead letter."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class RedrivenOnce:
    """Remembers which dead letters inputs were redriven from."""

    def __init__(self) -> None:
        self._seen: dict[int, NDArray[np.int64]] = {}

    def add(self, origins: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Add dead letters (partition and offset, int64 ``[k, 2]``); True for those seen before."""
        again = np.ones(len(origins), np.bool_)
        for partition in np.unique(origins[:, 0]).tolist():
            rows = np.flatnonzero(origins[:, 0] == partition)
            known = self._seen.get(partition, np.empty(0, np.int64))
            offsets, first = np.unique(origins[rows, 1], return_index=True)
            again[rows[first]] = np.isin(offsets, known)
            self._seen[partition] = np.union1d(known, offsets)
        return again

    def as_state(self) -> dict[str, str]:
        """JSON values for :meth:`from_state`."""
        return {
            str(partition): base64.b64encode(seen.astype("<i8").tobytes()).decode()
            for partition, seen in self._seen.items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, str]) -> RedrivenOnce:
        """Restore the result of :meth:`as_state`."""
        once = cls()
        for partition, seen in state.items():
            once._seen[int(partition)] = np.frombuffer(base64.b64decode(seen), "<i8").copy()
        return once
