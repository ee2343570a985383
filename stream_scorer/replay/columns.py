"""The two sides of a replay, as columns. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DECISIONS: Final = ("APPROVE", "REVIEW", "BLOCK")
"""In the order of the contract's enum."""

NO_DECISION: Final = -1
NO_VERSION: Final = -1


class Scored(NamedTuple):
    """What one side gives for inputs of one partition.

    Attributes:
        scores: float64 ``[n]``; NaN where there is none.
        decisions: positions in ``DECISIONS``, int8 ``[n]``; ``NO_DECISION`` where there is none.
        versions: indices into ``names``, int32 ``[n]``; ``NO_VERSION`` where there is none.
        names: model versions, such as ``v3``.
        unscored: why rows have none, with the number of each reason.
    """

    scores: NDArray[np.float64]
    decisions: NDArray[np.int8]
    versions: NDArray[np.int32]
    names: tuple[str, ...]
    unscored: Mapping[str, int]

    @property
    def is_there(self) -> NDArray[np.bool_]:
        """Rows that have a score and a decision."""
        found: NDArray[np.bool_] = ~np.isnan(self.scores) & (self.decisions != NO_DECISION)
        return found

    def version(self, row: int) -> str | None:
        """The model version of a row."""
        code = int(self.versions[row])
        return None if code == NO_VERSION else self.names[code]


def unscored(size: int, names: tuple[str, ...] = ()) -> Scored:
    """Columns without a score."""
    return Scored(
        np.full(size, np.nan),
        np.full(size, NO_DECISION, np.int8),
        np.full(size, NO_VERSION, np.int32),
        names,
        {},
    )


class Shown(NamedTuple):
    """A reason for people: the feature, its value, its contribution in log-odds."""

    feature: str
    value: str | None
    contribution: float
