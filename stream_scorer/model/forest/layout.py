"""The memory layout of a forest for the loops of :mod:`stream_scorer.model.forest.kernel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.forest.lanes import (
    COUNT_LANES,
    MANY_ROWS,
    MOST_COUNTED,
    SIDE_TREES,
)
from stream_scorer.model.forest.tree_shape import Shape, find_shape

MISSING_NONE: Final = 0
MISSING_ZERO: Final = 1
MISSING_NAN: Final = 2

FEW_ROWS: Final = 16  # rows per block when rows walk down the trees one by one

_SLOT_THRESHOLDS: Final = 254  # so that the codes and "missing, right" fit a byte
_SCAN_LEAVES: Final = 256  # per tree: a leaf's number is a byte
_NEVER: Final = 255  # a rank that no code exceeds
_MAX_SLOTS: Final = 1 << 20  # FEW_ROWS times a slot's number must fit 24 bits
_IN_EACH_BYTE: Final = 0x01010101


class UnsupportedModel(ValueError):
    """The compiled loops do not support this model; the message names the feature it uses."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree in LightGBM's numbering: inner nodes from 0, leaves as complements."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    missing: NDArray[np.int64]
    default_left: NDArray[np.bool_]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.float64]
    inner: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees over rank codes.

    A row becomes one byte for each *slot*: a feature with one way of treating missing values
    and up to 254 of the thresholds it is compared with. ``code`` is the number of the slot's
    thresholds below the value, so ``value <= threshold[j]`` exactly when ``code <= j``. A missing
    value gets 0 (goes left everywhere) or 255 (goes right everywhere).

    Attributes:
        n_features: columns of the feature matrix.
        thresholds: all slots' sorted distinct thresholds, one after the other; if a slot has many,
            infinities follow them, see ``lanes.find_below``.
        threshold_start: int32 ``[slots + 1]``.
        slot_feature, slot_missing, slot_left: for each slot; sorted by feature, then missing.
        nodes: uint64 for walking, packed ``slot * FEW_ROWS | rank << 24 | left << 32``, in an
            order for the cache; the right child follows the left one, and a leaf points at
            itself with a rank no code exceeds.
        tree_start: uint32 ``[trees]``, first node of each tree.
        leaf_of_node: uint32 by node; meaningless for an inner node.
        scan: uint32 ``[steps, SIDE_TREES, 4]`` for scanning, see ``lanes.scan_trees``: for
            each inner node ``slot * MANY_ROWS``, then, each repeated in four bytes: rank, number
            of the first leaf below it, number of the first leaf below its right child. Empty if
            any tree has more than 256 leaves.
        scan_start: int64 ``[groups + 1]``, first step of each group of ``SIDE_TREES`` trees.
        leaf_start: uint32 ``[trees]``, first leaf of each tree.
        leaf_values: float64, the trees' outputs, each tree's leaves from left to right.
        leaf_node, leaf_depth: uint32 by leaf; the depth is the number of splits above it.
        above: uint64 by node, packed ``feature | node << 32`` of its parent.
        change: float64 by node: its expected output (a leaf's: its output) minus its parent's.
        base: the raw score before any split: the sum of the roots' expected outputs, in tree
            order.
    """

    n_features: int
    thresholds: NDArray[np.float64]
    threshold_start: NDArray[np.int32]
    slot_feature: NDArray[np.int32]
    slot_missing: NDArray[np.int8]
    slot_left: NDArray[np.bool_]
    nodes: NDArray[np.uint64]
    tree_start: NDArray[np.uint32]
    leaf_of_node: NDArray[np.uint32]
    scan: NDArray[np.uint32]
    scan_start: NDArray[np.int64]
    leaf_start: NDArray[np.uint32]
    leaf_values: NDArray[np.float64]
    leaf_node: NDArray[np.uint32]
    leaf_depth: NDArray[np.uint32]
    above: NDArray[np.uint64]
    change: NDArray[np.float64]
    base: float


@dataclass(frozen=True, slots=True)
class _Slots:
    thresholds: NDArray[np.float64]
    start: NDArray[np.int32]
    feature: NDArray[np.int32]
    missing: NDArray[np.int8]
    left: NDArray[np.bool_]
    of_node: NDArray[np.int64]  # by inner node of all trees
    rank: NDArray[np.int64]


def assemble(trees: Sequence[Tree], n_features: int) -> Forest:
    """Lay out checked trees.

    Raises:
        UnsupportedModel: there are too many thresholds.
        ValueError: the nodes of a tree do not form a tree.
    """
    slots = _slots(trees)
    shape = find_shape([t.left for t in trees], [t.right for t in trees])
    splits, roots = len(shape.left), shape.levels[0]
    first, count = _leaf_numbers(shape)
    position = _positions(shape, count)
    order = np.argsort(position)
    packed = _NEVER << 24 | position << 32
    packed[:splits] = slots.of_node * FEW_ROWS | slots.rank << 24 | position[shape.left] << 32
    values = np.concatenate([*(t.inner for t in trees), *(t.leaf for t in trees)])
    leaves = np.array([len(t.leaf) for t in trees])
    leaf_start = np.cumsum(leaves) - leaves
    leaf = leaf_start[shape.tree] + first
    leaf_place = np.argsort(leaf[splits:]) + splits
    depth = np.empty(len(position), np.int64)
    for k, level in enumerate(shape.levels):
        depth[level] = k
    above, change = _above(slots, shape, position, values)
    scan, scan_start = _scan(slots, shape, order[order < splits], first, leaves)
    return Forest(
        n_features,
        slots.thresholds,
        slots.start,
        slots.feature,
        slots.missing,
        slots.left,
        packed[order].astype(np.uint64),
        position[roots].astype(np.uint32),
        leaf[order].astype(np.uint32),
        scan,
        scan_start,
        leaf_start.astype(np.uint32),
        values[leaf_place],
        position[leaf_place].astype(np.uint32),
        depth[leaf_place].astype(np.uint32),
        above[order].astype(np.uint64),
        change[order],
        float(np.cumsum(values[roots])[-1]),
    )


def _slots(trees: Sequence[Tree]) -> _Slots:
    feature = np.concatenate([t.feature for t in trees])
    missing = np.concatenate([t.missing for t in trees])
    left = np.concatenate([t.default_left for t in trees]) & (missing != MISSING_NONE)
    threshold = np.concatenate([t.threshold for t in trees])
    key = feature << 3 | missing << 1 | left
    order = np.lexsort((threshold, key))
    key, threshold = key[order], threshold[order]
    new_key = np.append(True, key[1:] != key[:-1])[: len(key)]
    new = new_key | np.append(True, threshold[1:] != threshold[:-1])[: len(key)]
    place = np.cumsum(new) - 1  # index of a node's threshold among the distinct ones
    distinct_key = key[new]
    first = np.flatnonzero(new_key[new])  # the first threshold of each key
    rank = np.arange(len(distinct_key)) - np.repeat(first, np.diff(first, append=len(distinct_key)))
    start = np.flatnonzero(rank % _SLOT_THRESHOLDS == 0)
    if len(start) >= _MAX_SLOTS:
        raise UnsupportedModel("more than a million feature slots")
    slot = np.searchsorted(start, np.arange(len(distinct_key)), side="right") - 1
    of_node, node_rank = np.empty(len(key), np.int64), np.empty(len(key), np.int64)
    of_node[order] = slot[place]
    node_rank[order] = (rank % _SLOT_THRESHOLDS)[place]
    slot_key = distinct_key[start]
    padded, padded_start = pad_thresholds(threshold[new], np.append(start, len(distinct_key)))
    return _Slots(
        padded,
        padded_start.astype(np.int32),
        (slot_key >> 3).astype(np.int32),
        (slot_key >> 1 & 3).astype(np.int8),
        (slot_key & 1).astype(np.bool_),
        of_node,
        node_rank,
    )


def pad_thresholds(
    thresholds: NDArray[np.float64], start: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Thresholds and starts in which slots with many are whole blocks that end with an infinity."""
    count = np.diff(start)
    blocks = count // COUNT_LANES + 1
    room = np.where(count > MOST_COUNTED, blocks * COUNT_LANES, count)
    padded_start = np.append(0, np.cumsum(room))
    padded = np.full(int(padded_start[-1]), np.inf)
    padded[np.arange(len(thresholds)) + np.repeat(padded_start[:-1] - start[:-1], count)] = (
        thresholds
    )
    return padded, padded_start


def _leaf_numbers(shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each node: the first leaf below it, counted from the left, and how many there are."""
    count = np.ones(len(shape.tree), np.int64)
    first = np.zeros(len(shape.tree), np.int64)
    inner = [level[level < len(shape.left)] for level in shape.levels]
    for nodes in reversed(inner):
        count[nodes] = count[shape.left[nodes]] + count[shape.right[nodes]]
    for nodes in inner:
        left = shape.left[nodes]
        first[left] = first[nodes]
        first[shape.right[nodes]] = first[nodes] + count[left]
    return first, count


def _positions(shape: Shape, count: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position of each node: siblings side by side, then the pair below the likelier one.

    So most steps of a walk stay in the same cache line. The likelier child is the one with more
    leaves, since trees grow where the records are.
    """
    splits = len(shape.left)
    position = np.empty(len(shape.tree), np.int64)
    below = np.empty(splits, np.int64)  # position of an inner node's children
    roots = shape.levels[0]
    sizes = 2 * count[roots] - 1
    position[roots] = np.cumsum(sizes) - sizes
    inner = roots < splits
    below[roots[inner]] = position[roots[inner]] + 1
    for level in shape.levels:
        nodes = level[level < splits]
        left, right = shape.left[nodes], shape.right[nodes]
        position[left], position[right] = below[nodes], below[nodes] + 1
        is_left = count[left] >= count[right]
        likelier, other = np.where(is_left, (left, right), (right, left))
        following = below[nodes] + 2
        for child, start in ((likelier, following), (other, following + 2 * count[likelier] - 2)):
            inner = child < splits
            below[child[inner]] = start[inner]
    return position


def _above(
    slots: _Slots, shape: Shape, position: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """``Forest.above`` and ``Forest.change``, zero for roots."""
    splits = len(shape.left)
    above, change = np.zeros(len(position), np.int64), np.zeros(len(position))
    packed = slots.feature[slots.of_node] | position[:splits] << 32
    for child in (shape.left, shape.right):
        above[child] = packed
        change[child] = values[child] - values[:splits]
    return above, change


def _scan(
    slots: _Slots,
    shape: Shape,
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    leaves: NDArray[np.int64],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """``Forest.scan`` and ``Forest.scan_start`` for the inner nodes in ``order``, by tree."""
    if leaves.max() > _SCAN_LEAVES:
        return np.empty((0, SIDE_TREES, 4), np.uint32), np.zeros(1, np.int64)
    splits = leaves - 1
    padded = np.append(splits, np.zeros(-len(splits) % SIDE_TREES, np.int64))
    steps = np.maximum(padded.reshape(-1, SIDE_TREES).max(axis=1), 1)
    start = np.concatenate([[0], np.cumsum(steps)])
    scan = np.zeros((int(start[-1]), SIDE_TREES, 4), np.uint32)
    scan[..., 1] = _NEVER * _IN_EACH_BYTE  # padding for a tree with fewer nodes: moves no row
    tree = shape.tree[order]
    step = start[tree // SIDE_TREES] + np.arange(len(order)) - (np.cumsum(splits) - splits)[tree]
    fields = (slots.rank[order], first[order], first[shape.right[order]])
    place = (step, tree % SIDE_TREES)
    scan[(*place, 0)] = slots.of_node[order] * MANY_ROWS
    for k, field in enumerate(fields, 1):
        scan[(*place, k)] = field * _IN_EACH_BYTE
    return scan, start
