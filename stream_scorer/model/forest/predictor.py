"""Raw scores and attributions of a model: by compiled loops if supported, else by LightGBM."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.forest import kernel
from stream_scorer.model.forest.explained import Choose, Explained
from stream_scorer.model.forest.forest import Forest, UnsupportedModel, parse_forest
from stream_scorer.model.forest.lanes import MANY_ROWS
from stream_scorer.model.forest.layout import FEW_ROWS
from stream_scorer.model.forest.lightgbm_model import LightGBMModel

log = logging.getLogger(__name__)

_NO_ROWS: Final = np.empty(0, np.int64)
SCAN_FROM_ROWS: Final = 12
"""Scanning costs the same for 1 to 128 rows; from this many on, less than walking (measured)."""


class Predictor(Protocol):
    """What scoring needs from a model."""

    @property
    def base(self) -> float:
        """The raw score before any feature's contribution."""
        ...

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores (log-odds) ``[n]`` of the feature matrix ``[n, features]``."""
        ...

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Attributions ``[n, features]``; base + row sum = raw score."""
        ...

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        """Raw scores of all rows, and the contributions of the chosen rows."""
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
        """Bit for bit the result of ``Booster.predict(raw_score=True)``, for any batch size."""
        out = np.empty(len(matrix))
        for rows, exits in self._exits(matrix):
            kernel.sum_outputs(exits, self._forest.leaf_values, out[rows])
        return out

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Attribution along the decision path."""
        return self.explained(matrix, lambda raw: np.ones(len(raw), np.bool_)).contributions

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        """Score and explain in one pass: scoring a row already finds its leaves."""
        f = self._forest
        raw = np.empty(len(matrix))
        kept = np.empty((len(matrix), len(f.tree_start)), np.uint32)
        chosen = []
        n = 0
        for rows, exits in self._exits(matrix):
            kernel.sum_outputs(exits, f.leaf_values, raw[rows])
            some = np.flatnonzero(choose(raw[rows]))
            if len(some):
                kernel.keep_exits(exits, some, kept[n : n + len(some)])
                chosen.append(some + rows.start)
                n += len(some)
        out = np.empty((n, f.n_features))
        kernel.add_paths(kept[:n], f.leaf_node, f.leaf_depth, f.above, f.change, out)
        return Explained(raw, np.concatenate([_NO_ROWS, *chosen]), out)

    def _exits(self, matrix: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
        """Blocks of rows and their exits ``[trees, at least rows]``, valid until the next block."""
        f = self._forest
        scans = len(matrix) >= SCAN_FROM_ROWS and len(f.scan) > 0
        width = MANY_ROWS if scans else FEW_ROWS
        slots = max(len(f.slot_feature), 1)  # a leaf reads a code too, though any code will do
        codes = np.empty((slots, width), np.uint8)
        exits = np.empty((len(f.tree_start), width), np.uint32)
        for first in range(0, len(matrix), width):
            rows = slice(first, min(first + width, len(matrix)))
            kernel.rank_codes(
                matrix[rows],
                f.thresholds,
                f.threshold_start,
                f.slot_feature,
                f.slot_missing,
                f.slot_left,
                codes,
            )
            if scans:
                kernel.scan_exits(codes, f.scan, f.scan_start, f.leaf_start, exits)
            else:
                n = rows.stop - rows.start
                kernel.walk_exits(codes, n, f.nodes, f.tree_start, f.leaf_of_node, exits)
            yield rows, exits


def build_predictor(model_text: str) -> Predictor:
    """The fastest exact predictor for a model's text."""
    try:
        return ForestPredictor(parse_forest(model_text))
    except UnsupportedModel as reason:
        log.warning("scoring with LightGBM itself, which is slower: the model uses %s", reason)
        return LightGBMModel(model_text)
