"""Raw scores and attributions of one model: compiled where covered, LightGBM's own else."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model import kernel
from stream_scorer.model.forest import Forest, UnsupportedModel, parse_forest
from stream_scorer.model.lightgbm_model import LightGBMModel

log = logging.getLogger(__name__)


class Predictor(Protocol):
    """What scoring needs of a model."""

    @property
    def base(self) -> float:
        """Raw score before any feature counts."""
        ...

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores (log-odds) ``[n]`` of the feature matrix ``[n, features]``."""
        ...

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Attribution ``[n, features]``; base + row sum = raw score."""
        ...


class ForestPredictor:
    """The compiled loops over a forest."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest

    @property
    def base(self) -> float:
        """Sum of the root values."""
        return self._forest.base

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bit for bit what ``Booster.predict(raw_score=True)`` gives, for any batch size."""
        f = self._forest
        out = np.empty(len(matrix))
        kernel.raw_scores(self._codes(matrix), f.nodes, f.tree_start, f.values, out)
        return out

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Attribution along the decision path."""
        f = self._forest
        out = np.empty((len(matrix), f.n_features))
        kernel.path_contributions(
            self._codes(matrix), f.nodes, f.tree_start, f.values, f.node_feature, out
        )
        return out

    def _codes(self, matrix: NDArray[np.float64]) -> NDArray[np.uint16]:
        f = self._forest
        codes = np.empty((len(matrix), len(f.slot_feature)), np.uint16)
        kernel.rank_codes(
            matrix,
            f.thresholds,
            f.threshold_start,
            f.slot_feature,
            f.slot_missing,
            f.slot_left,
            codes,
        )
        return codes


def build_predictor(model_text: str) -> Predictor:
    """The fastest exact predictor for a model's text."""
    try:
        return ForestPredictor(parse_forest(model_text))
    except UnsupportedModel as reason:
        log.warning("model is scored by LightGBM itself, which is slower: it uses %s", reason)
        return LightGBMModel(model_text)
