"""A model that was trained elsewhere, on transaction columns by their names.

The file may come from anywhere. It is read as text by our own readers, which check every number,
and written again with checked numbers only. LightGBM and XGBoost never see the file itself.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.contracts import (
    EVENT_TIME,
    ID,
    NUMBER_COLUMNS,
    NUMBER_INDEX,
    TEXT_INDEX,
    TIME,
    column_name,
)
from stream_scorer.errors import UsageError
from stream_scorer.model.forest.forest import feature_names_in, parse_forest
from stream_scorer.model.forest.layout import UnsupportedModel
from stream_scorer.model.forest.model_text import ModelText, TreeText, checked_text, read_model
from stream_scorer.runtime.json_limits import shown
from trainer.fitting.plan import LIGHTGBM, XGBOOST
from trainer.fitting.xgboost_forest import forest_text
from trainer.fitting.xgboost_model import MAX_BYTES, read_xgboost

_ALIKE: Final = 0.7  # difflib's ratio; "Card1" and "card1" have 0.8
_SHOWN_FAULTS: Final = 5
_MAX_CHANGE: Final = 1e6  # in log-odds; far beyond any real tree, and its square is finite
_EVENT: Final = (ID, TIME, EVENT_TIME)
_MADE_UP: Final = re.compile(r"(f|Column_)\d+")  # names that the libraries give themselves
_CATEGORIES: Final = re.compile(r"^pandas_categorical:\s*(.*?)\s*$", re.MULTILINE)
_OTHER_FORMATS: Final = (
    # The first bytes, what the file is, and what to do.
    (b"\x80", "a pickle, which is not read because it can run code"),
    (b"PK", "a zip archive"),
    (b"\x1f\x8b", "compressed"),
    (b"binf", "an old binary model of XGBoost"),
    (b"[", "a dump of XGBoost's trees, not a model"),
)
_WAY_OUT: Final = (
    "save the model with LightGBM's booster.save_model('model.txt') or XGBoost's "
    "booster.save_model('model.json')"
)


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A model that can be served.

    Attributes:
        learner: the library that trained it.
        model_text: its forest in LightGBM's text format, over ``columns`` only.
        columns: the number columns that it splits on, in its order, under the contract's names.
        gains: how much each column's splits change the raw score, the largest first.
        trees: the trees that are used.
        all_trees: the trees in the file; more if training stopped early.
        unused: other features of the model.
        sha256: of the file.
    """

    learner: str
    model_text: str
    columns: tuple[str, ...]
    gains: dict[str, float]
    trees: int
    all_trees: int
    unused: tuple[str, ...]
    sha256: str


def read_foreign_model(content: bytes, file: str) -> ForeignModel:
    """Read a LightGBM text model or an XGBoost JSON model, by its content.

    Raises:
        UsageError: it is neither, or uses something that cannot be served exactly; the message
            names the file, what it uses, and the way out.
    """
    if len(content) > MAX_BYTES:
        raise UsageError(f"{file} has more than {MAX_BYTES} bytes, the limit")
    learner = _learner(content, file)
    try:
        if learner == XGBOOST:
            found = read_xgboost(content)
            names, trees, all_trees = found.names, len(found.trees), found.all_trees
            _check_named(names)
            model = read_model(forest_text(found, _as_words(names)))
        else:
            model, names = _read_lightgbm(content)
            trees = all_trees = len(model.trees)
            _check_named(names)
        used = _used(model)
        columns = _columns([names[i] for i in used])
        text = checked_text(_only(model, used), columns)
        parse_forest(text)
    except UnsupportedModel as reason:
        raise UsageError(f"{file} cannot be served exactly: it uses {reason}") from reason
    except ValueError as error:
        raise UsageError(f"{file} is not a valid {_NAMES[learner]} model: {error}") from error
    return ForeignModel(
        learner,
        text,
        columns,
        _gains(read_model(text), columns),
        trees,
        all_trees,
        tuple(name for i, name in enumerate(names) if i not in set(used)),
        hashlib.sha256(content).hexdigest(),
    )


_NAMES: Final = {LIGHTGBM: "LightGBM", XGBOOST: "XGBoost"}


def _learner(content: bytes, file: str) -> str:
    start = content[:64].lstrip()
    if start.startswith(b"tree") and start[4:5] in (b"\n", b"\r"):
        return LIGHTGBM
    if start.startswith(b"{"):
        if start[1:2] in (b"L", b"i", b"U", b"I", b"l"):  # the length of the first key
            raise UsageError(f"{file} is XGBoost's UBJSON: {_WAY_OUT}")
        if b'"tree_info"' in content and b'"learner"' not in content:
            raise UsageError(f"{file} is a dump of a LightGBM model in JSON: {_WAY_OUT}")
        return XGBOOST
    for magic, what in _OTHER_FORMATS:
        if start.startswith(magic):
            raise UsageError(f"{file} is {what}: {_WAY_OUT}")
    raise UsageError(
        f"{file} is neither a LightGBM text model nor an XGBoost JSON model: {_WAY_OUT}"
    )


def _read_lightgbm(content: bytes) -> tuple[ModelText, tuple[str, ...]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    model = read_model(text)
    parse_forest(text)  # names what the compiled forest does not support
    if not all(np.isfinite(tree.inner).all() for tree in model.trees):
        raise ValueError("a tree has an internal_value that is not a finite number")
    categories = _CATEGORIES.search(text)
    if categories is not None and categories[1] not in ("", "null", "[]"):
        raise UnsupportedModel(
            "categorical columns of pandas, whose codes are not in the transactions"
        )
    return model, feature_names_in(text)


def _check_named(names: Sequence[str]) -> None:
    if not names or all(_MADE_UP.fullmatch(name) for name in names):
        raise UnsupportedModel(
            "features without names; train it on a data frame, or give it feature names"
        )


def _as_words(names: Sequence[str]) -> list[str]:
    """Names without blanks, which separate names in LightGBM's text."""
    return [name if name.split() == [name] else f"f{i}" for i, name in enumerate(names)]


def _used(model: ModelText) -> list[int]:
    """The features that a tree splits on."""
    used = np.unique(np.concatenate([tree.feature for tree in model.trees]))
    if not len(used):
        raise UnsupportedModel("no column at all: no tree has a split")
    return [int(feature) for feature in used]


def _columns(names: Sequence[str]) -> tuple[str, ...]:
    """The transaction's columns of these names.

    Raises:
        UnsupportedModel: some are not number columns of a transaction; each is named.
    """
    columns = tuple(map(column_name, names))
    faults = [fault for fault in map(_fault, columns) if fault]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    faults += [f"{name} twice" for name in twice]
    if faults:
        more = len(faults) - _SHOWN_FAULTS
        listed = "; ".join(faults[:_SHOWN_FAULTS]) + (f"; and {more} more" if more > 0 else "")
        others = set(columns).difference(NUMBER_INDEX, TEXT_INDEX, _EVENT)
        is_computed = any("_" in name for name in others)  # such as client_count
        raise UnsupportedModel(f"{listed} ({_ONLY_COLUMNS})" if is_computed else listed)
    return columns


def _fault(column: str) -> str | None:
    if column in NUMBER_INDEX:
        return None
    if column in TEXT_INDEX:
        return f"{column}, a text column, whose codes in training are not known"
    if column in _EVENT:
        return f"{column}, which identifies a transaction and is no feature"
    near = difflib.get_close_matches(column[:100], NUMBER_COLUMNS, 1, _ALIKE)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{shown(column)!r}, which is no column of a transaction{hint}"


_ONLY_COLUMNS: Final = (
    "an imported model reads columns of a transaction and no computed features, such as those of "
    "card history: train a model with such features here, with --features FILE"
)


def _only(model: ModelText, used: Sequence[int]) -> ModelText:
    """The same trees over the used features only."""
    place = np.zeros(model.n_features, np.int64)
    place[list(used)] = np.arange(len(used))
    trees = tuple(replace(tree, feature=place[tree.feature]) for tree in model.trees)
    return replace(model, n_features=len(used), trees=trees)


def _gains(model: ModelText, columns: Sequence[str]) -> dict[str, float]:
    """By each column: the variance of the raw score that its splits explain, over all trees.

    Not every file has the gain in the loss, but every file has what this needs.
    """
    gains = np.zeros(len(columns))
    for tree in model.trees:
        for child in (tree.left, tree.right):
            value, count = _at(child, tree)
            change = np.clip(value - tree.inner, -_MAX_CHANGE, _MAX_CHANGE)
            np.add.at(gains, tree.feature, count * change**2)
    ranked = sorted(zip(columns, gains.tolist(), strict=True), key=lambda item: -item[1])
    return dict(ranked)


def _at(
    nodes: NDArray[np.int64], tree: TreeText
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The expected output and the count of nodes in LightGBM's numbering."""
    place = np.where(nodes >= 0, nodes, len(tree.inner) + ~nodes)
    value = np.concatenate([tree.inner, tree.leaf])[place]
    count = np.concatenate([tree.inner_count, tree.leaf_count])[place]
    return value, count.astype(np.float64)
