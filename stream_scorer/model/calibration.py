"""The calibration map: from the model's own probability to the share of such rows that is fraud.

The map is strictly increasing and piecewise linear on [0, 1], so it changes no order. It is applied
in plain IEEE arithmetic to one score at a time: the same bits for any batch and on any machine.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from stream_scorer.model.forest.kernel import sigmoid

MAX_KNOTS: Final = 256
MIN_SLOPE: Final = 2.0**-10
"""Of a map that the trainer fits. Scores that differ by 2**-40 before the map still differ by
2**-50 after it, which is eight times the precision of a double near 1."""

_MIN_LOADED_SLOPE: Final = 2.0**-11  # a slope that is computed from knots has a rounding error


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The knots of a map, and the slope after each knot but the last (float64)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    slope: NDArray[np.float64]

    def state(self) -> dict[str, list[float]]:
        """The map as plain data; :func:`parse_calibration` restores it."""
        return {"x": self.x.tolist(), "y": self.y.tolist()}


def parse_calibration(state: object) -> Calibration | None:
    """A map from plain data. None, which bundles without a map have, stays None.

    Raises:
        ValueError: it is not a strictly increasing map from (0, 0) to (1, 1).
    """
    if state is None:
        return None
    if not isinstance(state, dict) or state.keys() != {"x", "y"}:
        raise ValueError("the calibration is not a map with x and y")
    x, y = (_knots(name, state[name]) for name in ("x", "y"))
    if len(x) != len(y):
        raise ValueError(f"the calibration has {len(x)} x and {len(y)} y")
    with np.errstate(over="ignore"):
        slope = np.diff(y) / np.diff(x)
    if not (np.isfinite(slope).all() and (slope >= _MIN_LOADED_SLOPE).all()):
        raise ValueError("a slope of the calibration is too small or not finite")
    return Calibration(x, y, slope)


def _knots(name: str, values: Any) -> NDArray[np.float64]:
    if not isinstance(values, list) or not 2 <= len(values) <= MAX_KNOTS:
        raise ValueError(f"{name} of the calibration is not a list of 2 to {MAX_KNOTS} numbers")
    # Only a float: True and huge integers would compare like numbers too.
    if not all(type(value) is float and math.isfinite(value) for value in values):
        raise ValueError(f"{name} of the calibration has a value that is not a finite number")
    if values[0] != 0.0 or values[-1] != 1.0:
        raise ValueError(f"{name} of the calibration does not go from 0 to 1")
    if not all(a < b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{name} of the calibration is not strictly increasing")
    return np.array(values, np.float64)


def to_scores(
    raw: NDArray[np.float64], calibration: Calibration | None = None
) -> NDArray[np.float64]:
    """The scores of raw scores (log-odds): sigmoid, and then the map, if there is one."""
    scores = np.empty(len(raw))
    sigmoid(raw, scores)
    return calibrate(scores, calibration)


def calibrate(scores: NDArray[np.float64], calibration: Calibration | None) -> NDArray[np.float64]:
    """Scores after the map; ``scores`` itself where there is none."""
    if calibration is None:
        return scores
    out = np.empty(len(scores))
    interpolate(scores, calibration.x, calibration.y, calibration.slope, out)
    return out


@compiled
def interpolate(
    scores: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    slope: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """The piecewise linear function with the knots ``x``, ``y``, element by element.

    It never decreases, rounding included: each operation is monotone, and a value does not exceed
    the knot at its right end.
    """
    for i in range(len(scores)):
        value = scores[i]
        low, high = 0, len(slope)
        while high - low > 1:
            middle = (low + high) >> 1
            if x[middle] <= value:
                low = middle
            else:
                high = middle
        out[i] = min(y[low] + (value - x[low]) * slope[low], y[low + 1])
