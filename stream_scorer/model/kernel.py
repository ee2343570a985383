"""The compiled loops over a forest: raw scores, and attribution along the decision path.

Both add up the trees' outputs in tree order in one double, as LightGBM does, so that the raw
score equals LightGBM's bit for bit.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined

_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold, a single-precision literal: up to here a number is zero to it."""
_ALWAYS_LEFT: Final = np.uint16(0)
_ALWAYS_RIGHT: Final = np.uint16(0xFFFF)
_BLOCK_ROWS: Final = 64  # rows whose codes stay in the cache while all trees pass over them
_NONE: Final = 0
_NAN: Final = 2


@compiled
def rank_codes(
    matrix: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    threshold_start: NDArray[np.int32],
    slot_feature: NDArray[np.int32],
    slot_missing: NDArray[np.int8],
    slot_left: NDArray[np.bool_],
    codes: NDArray[np.uint16],
) -> None:
    """Codes ``[n, slots]`` of the feature matrix ``[n, features]``; see ``Forest``."""
    for r in range(matrix.shape[0]):
        for s in range(slot_feature.shape[0]):
            feature = slot_feature[s]
            value = matrix[r, feature]
            missing = slot_missing[s]
            is_nan = value != value
            if -_ZERO <= value <= _ZERO or (is_nan and missing != _NAN):
                # LightGBM drops tiny values from a row before it predicts, and reads NaN as
                # zero unless the feature had NaN in training.
                value = 0.0
            if missing == _NONE:
                absent = False
            elif missing == _NAN:
                absent = is_nan
            else:
                absent = value == 0.0
            if absent:
                codes[r, s] = _ALWAYS_LEFT if slot_left[s] else _ALWAYS_RIGHT
                continue
            low = threshold_start[feature]
            base = low
            length = threshold_start[feature + 1] - low
            while length > 1:
                half = length >> 1
                base += half if thresholds[base + half - 1] < value else 0
                length -= half
            code = base - low
            if length == 1 and thresholds[base] < value:
                code += 1
            codes[r, s] = np.uint16(code)


@compiled
def raw_scores(
    codes: NDArray[np.uint16],
    nodes: NDArray[np.int64],
    tree_start: NDArray[np.int32],
    values: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Sum of the trees' outputs for each row, in tree order.

    Eight rows walk a tree side by side: a step waits for memory, and eight waits overlap. A
    row that has reached its leaf steps in place until all have.
    """
    n = codes.shape[0]
    flat = codes.ravel()
    width = np.int64(codes.shape[1])
    for r in range(n):
        out[r] = 0.0
    for first in range(0, n, _BLOCK_ROWS):
        last = min(n, first + _BLOCK_ROWS)
        for t in range(tree_start.shape[0]):
            o = np.int64(tree_start[t])
            r = first
            while r + 8 <= last:
                k0 = k1 = k2 = k3 = k4 = k5 = k6 = k7 = o
                q0 = r * width
                q1 = q0 + width
                q2 = q1 + width
                q3 = q2 + width
                q4 = q3 + width
                q5 = q4 + width
                q6 = q5 + width
                q7 = q6 + width
                while True:
                    before = k0 + k1 + k2 + k3 + k4 + k5 + k6 + k7
                    for _ in range(3):  # looking for the end only every third step
                        k0 = _step(nodes[k0], flat, q0, o)
                        k1 = _step(nodes[k1], flat, q1, o)
                        k2 = _step(nodes[k2], flat, q2, o)
                        k3 = _step(nodes[k3], flat, q3, o)
                        k4 = _step(nodes[k4], flat, q4, o)
                        k5 = _step(nodes[k5], flat, q5, o)
                        k6 = _step(nodes[k6], flat, q6, o)
                        k7 = _step(nodes[k7], flat, q7, o)
                    # Positions only grow, so an equal sum means that nobody moved.
                    if k0 + k1 + k2 + k3 + k4 + k5 + k6 + k7 == before:
                        break
                out[r] += values[k0]
                out[r + 1] += values[k1]
                out[r + 2] += values[k2]
                out[r + 3] += values[k3]
                out[r + 4] += values[k4]
                out[r + 5] += values[k5]
                out[r + 6] += values[k6]
                out[r + 7] += values[k7]
                r += 8
            while r < last:
                k = o
                q = r * width
                while True:
                    following = _step(nodes[k], flat, q, o)
                    if following == k:
                        break
                    k = following
                out[r] += values[k]
                r += 1


@inlined
def _step(node: Any, flat: Any, q: Any, origin: Any) -> Any:
    right = flat[q + np.int64(node & 0xFFFF)] > ((node >> 16) & 0xFFFF)
    return origin + np.int64((node >> 32) & 0xFFFF) + np.int64(right)


@compiled
def path_contributions(
    codes: NDArray[np.uint16],
    nodes: NDArray[np.int64],
    tree_start: NDArray[np.int32],
    values: NDArray[np.float64],
    node_feature: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Attribution along the decision path, ``out`` ``[n, features]``.

    At each split the change of the node's expected value goes to the split's feature (Saabas,
    "Interpreting random forests", 2014); base + sum of a row = its raw score.
    """
    out[:] = 0.0
    for r in range(codes.shape[0]):
        for t in range(tree_start.shape[0]):
            origin = tree_start[t]
            k = np.int64(origin)
            while node_feature[k] >= 0:
                node = nodes[k]
                right = codes[r, node & 0xFFFF] > ((node >> 16) & 0xFFFF)
                following = origin + ((node >> 32) & 0xFFFF) + np.int64(right)
                out[r, node_feature[k]] += values[following] - values[k]
                k = following


@compiled
def sigmoid(raw: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """``1 / (1 + exp(-raw))`` element by element with the C library's exp, as LightGBM does.

    numpy's vectorised exp differs by a bit between processors, so it is not used.
    """
    for i in range(raw.shape[0]):
        out[i] = 1.0 / (1.0 + math.exp(-raw[i]))
