"""Checks that lists of children form trees, and finds the trees' levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH: Final = 1000
"""Splits above a leaf. LightGBM recurses to this depth, and its TreeSHAP keeps a path of this
length squared. Trees with 200 leaves are about 30 deep."""


@dataclass(frozen=True, slots=True)
class Shape:
    """All trees' nodes under one numbering: inner nodes first, then leaves, by tree."""

    left: NDArray[np.int64]  # by inner node
    right: NDArray[np.int64]
    tree: NDArray[np.int64]  # by node
    levels: list[NDArray[np.int64]]  # every tree's nodes of one depth, the roots first


def find_shape(lefts: Sequence[NDArray[np.int64]], rights: Sequence[NDArray[np.int64]]) -> Shape:
    """The shape of trees given by their children, in LightGBM's numbering.

    Following the children in the result always ends in a leaf, after at most ``MAX_DEPTH`` steps.

    Raises:
        ValueError: the lists do not form trees, or a tree is too deep.
    """
    for left, right in zip(lefts, rights, strict=True):
        _check_children(left, right)
    splits = np.array([len(left) for left in lefts])
    first_inner = np.cumsum(splits) - splits
    first_leaf = splits.sum() + np.cumsum(splits + 1) - (splits + 1)
    of_inner = np.repeat(np.arange(len(splits)), splits)
    all_left, all_right = (
        np.where(child < 0, first_leaf[of_inner] + ~child, first_inner[of_inner] + child)
        for child in (np.concatenate(lefts), np.concatenate(rights))
    )
    levels: list[NDArray[np.int64]] = []
    level = np.where(splits > 0, first_inner, first_leaf)
    while len(level):
        if len(levels) > MAX_DEPTH:
            raise ValueError(f"a tree is more than {MAX_DEPTH} splits deep")
        levels.append(level)
        inner = level[level < len(all_left)]
        level = np.column_stack([all_left[inner], all_right[inner]]).ravel()
    tree = np.concatenate([of_inner, np.repeat(np.arange(len(splits)), splits + 1)])
    if sum(map(len, levels)) != len(tree):  # a cycle of nodes not connected to the root
        raise ValueError("a tree's nodes do not form a tree")
    return Shape(all_left, all_right, tree, levels)


def _check_children(left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Check that every node except the root is the child of exactly one node."""
    splits = len(left)
    children = np.sort(np.concatenate([left, right]))
    every = np.concatenate([np.arange(-splits - 1, 0), np.arange(1, splits)])
    if len(right) != splits or (splits and not np.array_equal(children, every)):
        raise ValueError("a tree's nodes do not form a tree")
