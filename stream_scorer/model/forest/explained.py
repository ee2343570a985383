"""A predictor's result for a batch: all raw scores, and attributions for some of the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Choose = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Selects the rows to explain, from their raw scores; each row is decided on its own."""


class Explained(NamedTuple):
    """Raw scores ``[n]``; the chosen rows, ascending; their attributions ``[rows, features]``."""

    raw: NDArray[np.float64]
    rows: NDArray[np.int64]
    contributions: NDArray[np.float64]


def explain_afterwards(
    raw: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    contributions: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    matrix: NDArray[np.float64],
    choose: Choose,
) -> Explained:
    """For predictors that score first and explain in a second pass."""
    scores = raw(matrix)
    rows = np.flatnonzero(choose(scores))
    some = np.ascontiguousarray(matrix[rows])
    return Explained(scores, rows, contributions(some) if len(rows) else np.empty(some.shape))
