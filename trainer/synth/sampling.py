"""The generator's basic vectorised draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from trainer.synth.statistics import QUANTILES, Levels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def draw_index(rng: np.random.Generator, weights: ArrayLike, n: int) -> Ints:
    """``n`` positions, each with a probability proportional to its weight."""
    edges = np.cumsum(np.asarray(weights, float))
    drawn = np.searchsorted(edges / edges[-1], rng.random(n), side="right")
    return drawn.clip(0, len(edges) - 1).astype(np.int64)


def draw_level(rng: np.random.Generator, levels: Levels, n: int) -> NDArray[Any]:
    """``n`` values of a categorical column."""
    drawn: NDArray[Any] = levels.values[draw_index(rng, levels.weights, n)]
    return drawn


def quantile_step(u: Floats) -> Ints:
    """The row of a quantile table for a uniform number; 1 and above give the last row."""
    return (np.clip(u, 0.0, 0.99999) * QUANTILES).astype(np.int64)


def look_up(table: Floats, u: Floats) -> Floats:
    """Values of a distribution given as a quantile table, at the uniform numbers ``u``."""
    return table[quantile_step(u)]


def to_uniform(z: Floats, deviation: float = 1.0) -> Floats:
    """Uniform numbers from normal ones of the given standard deviation."""
    uniform: Floats = ndtr(z / deviation)
    return uniform


def blank(values: NDArray[Any], where: Bools) -> Floats:
    """The numbers, with NaN where the mask is set."""
    return np.where(where, np.nan, values)


def blank_text(values: NDArray[Any], where: Bools) -> NDArray[np.object_]:
    """The strings, with None where the mask is set."""
    out: NDArray[np.object_] = values.astype(object)
    out[where] = None
    return out
