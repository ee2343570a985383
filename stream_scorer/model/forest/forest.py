"""A LightGBM model as arrays, read from its text form.

The text form has enough digits to restore every number exactly. A model that the compiled loops
support (binary objective, numeric splits, any handling of missing values) becomes a
:class:`Forest`. For any other model :class:`UnsupportedModel` names the feature, and
:mod:`stream_scorer.model.forest.predictor` falls back to LightGBM itself.
"""

from __future__ import annotations

from typing import Final

from stream_scorer.model.forest.layout import Forest, Tree, UnsupportedModel, assemble
from stream_scorer.model.forest.model_text import (
    ModelText,
    TreeText,
    feature_names_in,
    gives_log_odds,
    read_model,
)

__all__ = ["Forest", "UnsupportedModel", "feature_names_in", "gives_log_odds", "parse_forest"]

_DEFAULT_LEFT: Final = 2  # bits of decision_type
_MISSING_SHIFT: Final = 2


def parse_forest(text: str) -> Forest:
    """Build the arrays from a model's text.

    Raises:
        UnsupportedModel: the compiled loops do not support the model; LightGBM may.
        ValueError: the text is not a valid LightGBM model.
    """
    model = read_model(text)
    _check_supported(model)
    return assemble([_tree(tree) for tree in model.trees], model.n_features)


def _check_supported(model: ModelText) -> None:
    if model.classes != 1:
        raise UnsupportedModel("several classes")
    if model.objective.split() != ["binary", "sigmoid:1"]:
        raise UnsupportedModel(f"objective {model.objective[:40]!r}")
    if model.is_averaged:
        raise UnsupportedModel("averaged output (random forest)")
    if any(len(tree.bit_start) for tree in model.trees):
        raise UnsupportedModel("categorical splits")
    if any(tree.is_linear for tree in model.trees):
        raise UnsupportedModel("linear trees")


def _tree(tree: TreeText) -> Tree:
    return Tree(
        tree.feature,
        tree.threshold,
        tree.decision >> _MISSING_SHIFT & 3,
        (tree.decision & _DEFAULT_LEFT) != 0,
        tree.left,
        tree.right,
        tree.leaf,
        tree.inner,
    )
