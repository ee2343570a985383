"""Where sampled transactions are put in the order by expected loss. Pure.

Analysts work from the top of that order and rarely reach its end. If samples had their own place,
only those of large amounts would get labels, and the rest would be missing from every estimate. So
each goes beside a flagged transaction that the hash of its source chooses among the latest ones of
its partition: its place says nothing about the transaction, and has the scale of the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from schemas.scores.sampling import places

_LATEST: Final = 64  # flagged transactions of a partition to choose from
_TYPICAL: Final = NormalDist(math.log(50.0), 1.2)
"""Logarithms of expected losses in the IEEE-CIS data: for a partition without flagged ones."""


class SamplePlaces:
    """The latest expected losses of each partition of the scores topic. Used by one thread.

    The same topic, read from the same offset, gives the same places.
    """

    def __init__(self) -> None:
        self._latest: dict[int, deque[float]] = {}

    def note(self, partition: int, expected_loss: float) -> None:
        """Remember the expected loss of a flagged transaction."""
        self._latest.setdefault(partition, deque(maxlen=_LATEST)).append(expected_loss)

    def choose(self, partition: int, source: Mapping[str, Any]) -> float:
        """The place of a sampled transaction, by its source coordinates.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: they are none.
        """
        where = np.array([int(source["partition"])]), np.array([int(source["offset"])])
        (drawn,) = places(str(source["topic"]), *where).tolist()
        latest = self._latest.get(partition)
        if not latest:
            return math.exp(_TYPICAL.inv_cdf(min(max(drawn, 1e-9), 1 - 1e-9)))
        return latest[int(drawn * len(latest))]
