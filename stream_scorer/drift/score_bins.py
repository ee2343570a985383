"""How far live scores are from those the model was tested on, counted so that anyone can tell.

Each batch is counted into the bins of its version's reference histogram: one ``searchsorted`` over
some nine edges, about 30 microseconds for 2,000 scores. What follows from the counts (the
population stability index over any window and any number of pods) is left to whoever scrapes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.reference import Reference


class ScoreBins:
    """Scores by bin of the reference of the version that scores now; one thread counts."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._reference = Reference()
        self._counts = np.zeros(1, np.int64)

    def count(self, version: str, reference: Reference | None, scores: NDArray[np.float64]) -> None:
        """Count a batch that ``version`` scored, whose reference this is.

        The first batch of a version decides; without a reference its batches are not counted.
        """
        if version != self._version:
            if reference is None:
                return
            self._counts = np.zeros(len(reference.edges) + 1, np.int64)
            self._reference, self._version = reference, version
        if self._reference.rows:
            self._counts += self._reference.count(scores)

    def figures(self) -> tuple[str, list[int], list[float]] | None:
        """The version, its scores by bin, and the share expected in each; None without any."""
        version, reference, counts = self._version, self._reference, self._counts
        # Another thread may be changing the version: what does not fit together is not shown.
        if version is None or not reference.rows or len(counts) != len(reference.shares):
            return None
        return version, counts.tolist(), reference.shares.tolist()
