"""A LightGBM model's text ("LightGBM model format v4"), read and validated.

LightGBM's own reader does not validate its input: a wrong length, child or category makes it read
out of bounds or loop forever. So it never sees a text from outside. The text is read and checked
here, and rewritten for LightGBM (:func:`checked_text`) with the same numbers. The compiled loops
get the same numbers as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.forest.tree_shape import find_shape

MAX_TREES: Final = 10_000
MAX_LEAVES: Final = 1_000_000
"""Of all trees; 160,000 are usual. Each costs about half a kilobyte while a model is built."""

LOG_ODDS: Final = ("binary sigmoid:1", "cross_entropy")
"""Objectives for which the sigmoid of the raw score is the probability."""

_HEADER_MAX_CHARS: Final = 1024 * 1024  # it holds the names of a few hundred features
_TREE_MAX_LINES: Final = 64  # LightGBM writes 22
_NUMBER_MAX_CHARS: Final = 40  # including the space after it; LightGBM writes 25
_IS_CATEGORY, _MAX_DECISION = 1, 11  # bits: is a category, default left, and two of 0, 1, 2
_COUNT_MAX: Final = 2**31 - 1
_BITS_MAX: Final = 2**32 - 1
_NEXT_TREE: Final = "\nTree="
_LAST: Final = "\nend of trees"


@dataclass(frozen=True, slots=True)
class TreeText:
    """The text's values for one tree: inner nodes from 0, leaves as complements.

    ``decision`` is LightGBM's decision_type. A split on a category has the index of its set in
    ``threshold``; set ``k`` is the bits ``bits[bit_start[k]:bit_start[k + 1]]``.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    decision: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.float64]
    inner: NDArray[np.float64]
    leaf_count: NDArray[np.int64]
    inner_count: NDArray[np.int64]
    bit_start: NDArray[np.int64]
    bits: NDArray[np.int64]
    is_linear: bool


@dataclass(frozen=True, slots=True)
class ModelText:
    """A model's text, checked: its nodes form trees, which split only on its features."""

    n_features: int
    classes: int
    objective: str
    is_averaged: bool
    trees: tuple[TreeText, ...]


def read_model(text: str) -> ModelText:
    """Read and check a model's text; memory use is proportional to the text, whatever it contains.

    Raises:
        ValueError: the text is not a valid LightGBM model.
    """
    if len(header := _header(text)) > _HEADER_MAX_CHARS:
        raise ValueError(f"the header has more than {_HEADER_MAX_CHARS} characters")
    facts = _pairs(header)
    n_features = _whole(facts, "max_feature_idx") + 1
    classes = _whole(facts, "num_class", "1")
    if len(facts.get("feature_names", "").split()) != n_features:
        raise ValueError(f"the number of feature names is not {n_features}")
    trees = []
    leaves = 0
    for block in _blocks(text):
        tree = _read_tree(block, n_features)
        leaves += len(tree.leaf)
        trees.append(tree)
        if leaves > MAX_LEAVES or len(trees) > MAX_TREES:
            raise ValueError(f"more than {MAX_TREES} trees or {MAX_LEAVES} leaves")
    if not trees:
        raise ValueError("not a LightGBM model: it has no trees")
    per_round = _whole(facts, "num_tree_per_iteration", "1")
    if not classes == per_round > 0 or len(trees) % per_round:
        raise ValueError("the classes have different numbers of trees")
    find_shape([t.left for t in trees], [t.right for t in trees])
    is_averaged = "average_output" in header.splitlines()  # a word without a value
    return ModelText(n_features, classes, facts.get("objective", ""), is_averaged, tuple(trees))


def checked_text(model: ModelText, names: Sequence[str] = ()) -> str:
    """A text for LightGBM's reader that contains only checked values.

    It gives the same raw scores and attributions as the original text, bit for bit. Features have
    LightGBM's own names. With ``names``, it is a text for :func:`read_model` too: features have
    these names, and inner nodes their expected outputs.
    """
    if any(tree.is_linear for tree in model.trees):
        raise ValueError("linear trees are not supported")
    lines = [
        "tree",
        "version=v4",
        f"num_class={model.classes}",
        f"num_tree_per_iteration={model.classes}",
        "label_index=0",
        f"max_feature_idx={model.n_features - 1}",
        *([f"objective={model.objective}"] if model.objective in LOG_ODDS else []),
        *(["average_output"] if model.is_averaged else []),
        "feature_names=" + " ".join(names or (f"Column_{i}" for i in range(model.n_features))),
        "feature_infos=" + " ".join(["none"] * model.n_features),
        "",
    ]
    for number, tree in enumerate(model.trees):
        lines += [f"Tree={number}", *_tree_lines(tree)]
        if names:
            lines.append(_line("internal_value", tree.inner.tolist()))
        lines += ["", ""]
    return "\n".join([*lines, "end of trees", ""])


def feature_names_in(text: str) -> tuple[str, ...]:
    """The feature names in a model's text."""
    return tuple(_pairs(_header(text)).get("feature_names", "").split())


def gives_log_odds(text: str) -> bool:
    """Whether the sigmoid of a model's raw score is its probability."""
    facts = _pairs(_header(text))
    one_class = facts.get("num_class", "1") == facts.get("num_tree_per_iteration", "1") == "1"
    return one_class and facts.get("objective") in LOG_ODDS


def _header(text: str) -> str:
    """The text before the first tree, cut just beyond the limit so that the caller can check it."""
    end = text.find(_NEXT_TREE)
    return text[: min(len(text) if end < 0 else end, _HEADER_MAX_CHARS + 1)]


def _blocks(text: str) -> Iterator[str]:
    """The text of each tree, from its number on."""
    found = text.find(_LAST)
    stop = len(text) if found < 0 else found
    start = text.find(_NEXT_TREE, 0, stop)
    while start >= 0:
        following = text.find(_NEXT_TREE, start + 1, stop)
        yield text[start + len(_NEXT_TREE) : stop if following < 0 else following]
        start = following


def _pairs(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in lines if equals}


def _whole(facts: Mapping[str, str], name: str, default: str | None = None) -> int:
    """A non-negative integer."""
    value = facts.get(name, default)
    if value is None or len(value) > _NUMBER_MAX_CHARS or (number := int(value)) < 0:
        raise ValueError(f"{name} is not a number")
    return number


def _read_tree(block: str, n_features: int) -> TreeText:
    if block.count("\n") > _TREE_MAX_LINES:
        raise ValueError(f"a tree has more than {_TREE_MAX_LINES} lines")
    facts = _pairs(block)
    leaves = _whole(facts, "num_leaves")
    if not 1 <= leaves <= MAX_LEAVES:
        raise ValueError(f"a tree has {leaves} leaves, not 1 to {MAX_LEAVES}")
    splits = leaves - 1
    sets = _whole(facts, "num_cat", "0")
    if sets > splits:
        raise ValueError("a tree has more category sets than splits")
    bit_start = _integers(facts, "cat_boundaries", sets + 1 if sets else 0)
    tree = TreeText(
        _integers(facts, "split_feature", splits),
        _numbers(facts, "threshold", splits),
        _integers(facts, "decision_type", splits),
        _integers(facts, "left_child", splits),
        _integers(facts, "right_child", splits),
        _numbers(facts, "leaf_value", leaves),
        _numbers(facts, "internal_value", splits),
        _integers(facts, "leaf_count", leaves, or_zeros=True),
        _integers(facts, "internal_count", splits, or_zeros=True),
        bit_start,
        _integers(facts, "cat_threshold", int(bit_start[-1]) if sets else 0),
        facts.get("is_linear", "0").strip() != "0",
    )
    _check_tree(tree, n_features)
    return tree


def _values(facts: Mapping[str, str], name: str, count: int) -> list[str]:
    """The values of a line, counted before they are split: each costs about sixty bytes."""
    line = facts.get(name, "").strip() if count else ""
    found = line.count(" ") + 1 if line else 0
    if found != count:
        raise ValueError(f"a tree's {name} has {found} values, not {count}")
    if len(line) > count * _NUMBER_MAX_CHARS:
        raise ValueError(f"a value of a tree's {name} is too long")
    return line.split(" ") if line else []


def _numbers(facts: Mapping[str, str], name: str, count: int) -> NDArray[np.float64]:
    return np.array(_values(facts, name, count), np.float64)


def _integers(
    facts: Mapping[str, str], name: str, count: int, *, or_zeros: bool = False
) -> NDArray[np.int64]:
    if or_zeros and name not in facts:
        return np.zeros(count, np.int64)
    try:
        return np.array(_values(facts, name, count), np.int64)
    except OverflowError as error:
        raise ValueError(f"a number in {name} does not fit 64 bits") from error


def _check_tree(tree: TreeText, n_features: int) -> None:
    """Check every value of a tree; :func:`find_shape` checks that its nodes form a tree.

    Raises:
        ValueError: a value is out of range.
    """
    sets = max(0, len(tree.bit_start) - 1)
    is_category = (tree.decision & _IS_CATEGORY) != 0
    chosen = tree.threshold[is_category]
    if not _within(tree.feature, 0, n_features - 1):
        raise ValueError("a tree splits on a feature that the model does not have")
    if not _within(tree.decision, 0, _MAX_DECISION):
        raise ValueError("a tree has an unknown kind of split")
    if not (_within(chosen, 0, sets - 1) and np.array_equal(chosen, np.floor(chosen))):
        raise ValueError("a tree splits on a category set that it does not have")
    if sets and (tree.bit_start[0] != 0 or (np.diff(tree.bit_start) < 0).any()):
        raise ValueError("a tree's category sets are out of order")
    if not (_within(tree.leaf_count, 0, _COUNT_MAX) and _within(tree.inner_count, 0, _COUNT_MAX)):
        raise ValueError("a tree's counts are out of range")
    if not _within(tree.bits, 0, _BITS_MAX):
        raise ValueError("a tree's category sets are out of range")
    if np.isnan(tree.threshold).any() or not np.isfinite(tree.leaf).all():
        raise ValueError("a tree has a threshold or an output that is not a finite number")


def _within(values: NDArray[Any], least: int, most: int) -> bool:
    return not len(values) or bool(least <= values.min() <= values.max() <= most)


def _tree_lines(tree: TreeText) -> Iterator[str]:
    sets = max(0, len(tree.bit_start) - 1)
    yield f"num_leaves={len(tree.leaf)}"
    yield f"num_cat={sets}"
    yield _line("split_feature", tree.feature.tolist())
    yield _line("threshold", tree.threshold.tolist())
    yield _line("decision_type", tree.decision.tolist())
    yield _line("left_child", tree.left.tolist())
    yield _line("right_child", tree.right.tolist())
    yield _line("leaf_value", tree.leaf.tolist())
    yield _line("leaf_count", tree.leaf_count.tolist())
    yield _line("internal_count", tree.inner_count.tolist())
    if sets:
        yield _line("cat_boundaries", tree.bit_start.tolist())
        yield _line("cat_threshold", tree.bits.tolist())


def _line(name: str, values: Iterable[float]) -> str:
    return f"{name}={' '.join(map(repr, values))}"  # repr restores the same double
