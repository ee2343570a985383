"""The compiled loops over a forest: the leaf of each row, then scores and attributions.

A block of rows becomes codes. The codes become *exits*: for each tree and row, the number of the
leaf, counted over all trees. The exits become raw scores or attributions. The raw scores add up
the trees' outputs in tree order in one double, as LightGBM does, so they equal LightGBM's bit for
bit.

There are two ways to find the exits. *Walking* follows each row from node to node: about 15 steps
per tree, each of which waits for memory. *Scanning* visits every node of a tree, but for 64 rows
in one instruction, without a branch or a look-up. Scanning is faster except for a few rows.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from stream_scorer.model.forest.lanes import (
    COUNT_LANES,
    MANY_ROWS,
    MOST_COUNTED,
    SIDE_TREES,
    count_below,
    find_below,
    scan_trees,
)
from stream_scorer.model.forest.layout import MISSING_NAN, MISSING_ZERO

LANES_SHA256: Final = "2f031e8a3b8bffe90c140ab713f904203cce4b29895a33e3c13bada21de14248"
"""Of ``lanes.py``, which is compiled into these loops. numba's cache on disk is valid while this
file is unchanged. Stale machine code with other sizes would read out of bounds."""

_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold, a single-precision literal: it treats smaller numbers as zero."""
_ALWAYS_LEFT: Final = np.uint8(0)
_ALWAYS_RIGHT: Final = np.uint8(255)
_SLOT: Final = np.uint64(0xFFFFFF)  # with the next four: parts of a packed node, see Forest
_RANK_SHIFT: Final = np.uint64(24)
_BYTE: Final = np.uint64(0xFF)
_HIGH_SHIFT: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
_WALKS: Final = 16  # trees walked side by side, so that their waits for memory overlap


@compiled
def rank_codes(
    matrix: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    threshold_start: NDArray[np.int32],
    slot_feature: NDArray[np.int32],
    slot_missing: NDArray[np.int8],
    slot_left: NDArray[np.bool_],
    codes: NDArray[np.uint8],
) -> None:
    """Codes ``[slots, rows]`` of ``matrix`` ``[n, features]``; arbitrary codes beyond row n.

    Up to ``MOST_COUNTED`` thresholds are compared with 16 rows at once. Of more, which
    :func:`stream_scorer.model.forest.layout.pad_thresholds` has padded, 16 are compared at once. A
    binary search has fewer steps, but each one waits for memory (measured: 12 times slower for 16
    thresholds).
    """
    n, width = len(matrix), codes.shape[1]
    lanes = -(-n // COUNT_LANES) * COUNT_LANES
    flat = codes.ravel()
    column = np.zeros(width)
    for s in range(len(slot_feature)):
        feature, missing = slot_feature[s], slot_missing[s]
        if s == 0 or feature != slot_feature[s - 1] or missing != slot_missing[s - 1]:
            # LightGBM drops tiny values from a row before it predicts, and reads NaN as zero
            # unless the feature had NaN in training. In `column`, NaN means missing.
            nothing = np.nan if missing == MISSING_ZERO else 0.0
            for r in range(n):
                value = matrix[r, feature]
                is_zero = -_ZERO <= value <= _ZERO or (value != value and missing != MISSING_NAN)
                column[r] = nothing if is_zero else value
        first, last = threshold_start[s], threshold_start[s + 1]
        of_nan = _ALWAYS_LEFT if slot_left[s] else _ALWAYS_RIGHT
        at = s * width
        if last - first > MOST_COUNTED:
            for lane in range(0, lanes, COUNT_LANES):
                find_below(thresholds, first, last, column, lane, of_nan, flat, at + lane)
        else:
            for lane in range(0, lanes, COUNT_LANES):
                count_below(thresholds, first, last, column, lane, of_nan, flat, at + lane)


@compiled
def scan_exits(
    codes: NDArray[np.uint8],
    scan: NDArray[np.uint32],
    scan_start: NDArray[np.int64],
    leaf_start: NDArray[np.uint32],
    exits: NDArray[np.uint32],
) -> None:
    """Exits ``[trees, MANY_ROWS]`` by scanning, of codes ``[slots, MANY_ROWS]``."""
    trees = len(leaf_start)
    leaves = np.empty((SIDE_TREES, MANY_ROWS), np.uint8)
    for group in range(len(scan_start) - 1):
        scan_trees(scan, scan_start[group], scan_start[group + 1], codes, leaves)
        tree = group * SIDE_TREES
        for k in range(min(SIDE_TREES, trees - tree)):
            start = leaf_start[tree + k]
            for r in range(MANY_ROWS):
                exits[tree + k, r] = start + np.uint32(leaves[k, r])


@compiled
def walk_exits(
    codes: NDArray[np.uint8],
    rows: int,
    nodes: NDArray[np.uint64],
    tree_start: NDArray[np.uint32],
    leaf_of_node: NDArray[np.uint32],
    exits: NDArray[np.uint32],
) -> None:
    """Exits ``[trees, FEW_ROWS]`` of the first rows by walking, of codes ``[slots, FEW_ROWS]``.

    A walk that has reached its leaf stays there until the walks beside it have finished.
    """
    flat = codes.ravel()
    trees = len(tree_start)
    at = np.empty(_WALKS, np.uint64)
    for tree in range(0, trees, _WALKS):
        for row in range(rows):
            for k in range(_WALKS):  # beyond the last tree: repeat the last
                at[k] = tree_start[min(tree + k, trees - 1)]
            moved = np.uint64(1)
            while moved:
                moved = np.uint64(0)
                for k in range(_WALKS):
                    node = nodes[at[k]]
                    code = flat[(node & _SLOT) + np.uint64(row)]
                    right = code > (node >> _RANK_SHIFT & _BYTE)
                    following = (node >> _HIGH_SHIFT) + np.uint64(right)
                    moved |= following ^ at[k]
                    at[k] = following
            for k in range(min(_WALKS, trees - tree)):
                exits[tree + k, row] = leaf_of_node[at[k]]


@compiled
def sum_outputs(
    exits: NDArray[np.uint32], leaf_values: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Sum of the trees' outputs for each row, in tree order."""
    out[:] = 0.0
    for tree in range(len(exits)):
        for r in range(len(out)):
            out[r] += leaf_values[exits[tree, r]]


@compiled
def keep_exits(
    exits: NDArray[np.uint32], rows: NDArray[np.int64], kept: NDArray[np.uint32]
) -> None:
    """Copy the given rows of ``exits`` ``[trees, n]`` to ``kept`` ``[rows, trees]``."""
    for k in range(len(rows)):
        for tree in range(len(exits)):
            kept[k, tree] = exits[tree, rows[k]]


@compiled
def add_paths(
    kept: NDArray[np.uint32],
    leaf_node: NDArray[np.uint32],
    leaf_depth: NDArray[np.uint32],
    above: NDArray[np.uint64],
    change: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Attribution along the decision path, ``out`` ``[n, features]``.

    At each split the change of the node's expected value is attributed to the split's feature
    (Saabas, "Interpreting random forests", 2014); base + sum of a row = its raw score. ``kept``
    are exits ``[n, trees]``. The path is climbed from the leaf in a known number of steps, so the
    processor can start on the next row meanwhile. It could not if it had to detect the root
    (measured: 2.3 times slower). Steps come in fours: a mispredicted number of steps costs more
    than up to three idle steps at the root, whose change is zero.
    """
    out[:] = 0.0
    flat, width = out.ravel(), np.uint64(out.shape[1])
    for tree in range(kept.shape[1]):
        for r in range(len(out)):
            leaf = kept[r, tree]
            node = np.uint64(leaf_node[leaf])
            row = np.uint64(r) * width
            for _ in range((leaf_depth[leaf] + np.uint32(3)) >> np.uint32(2)):
                for _ in range(4):
                    up = above[node]
                    flat[row + (up & _LOW)] += change[node]
                    node = up >> _HIGH_SHIFT


@compiled
def find_largest(values: NDArray[np.float64], columns: NDArray[np.int64]) -> None:
    """``columns`` ``[n, k]`` of each row's ``k`` largest values, the largest first.

    Among equal values the lower column comes first. ``k`` is at most the row's length.
    """
    k = columns.shape[1]
    for r in range(len(values)):
        row, best = values[r], columns[r]
        for c in range(len(row)):
            place = min(c, k)
            if place == k and not row[c] > row[best[k - 1]]:
                continue
            place = min(place, k - 1)
            while place > 0 and row[c] > row[best[place - 1]]:
                best[place] = best[place - 1]
                place -= 1
            best[place] = c


@compiled
def sigmoid(raw: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """``1 / (1 + exp(-raw))`` element by element with the C library's exp, as LightGBM does.

    numpy's vectorised exp is not used: its last bit differs between processors.
    """
    for i in range(raw.shape[0]):
        out[i] = 1.0 / (1.0 + math.exp(-raw[i]))
