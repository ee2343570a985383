"""LightGBM itself: the reference, the fallback, and exact TreeSHAP on request."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.model.forest.explained import Choose, Explained, explain_afterwards
from stream_scorer.model.forest.model_text import checked_text, read_model
from stream_scorer.runtime.openmp import load_openmp

_ONE_THREAD = 1
"""More threads gain little on small batches and compete for a container's CPU share."""


class LightGBMModel:
    """A Booster, built from its text on first use (the import alone takes a second)."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def booster(self) -> Any:
        """The Booster, with the numbers of the text and LightGBM's own feature names.

        LightGBM's reader does not validate its input, so it gets a text rewritten from checked
        values.

        Raises:
            ArtifactCorrupt: the text is not a valid model.
            ArtifactIncompatible: the model has linear trees, which have no attributions.
            FatalError: the OpenMP library that LightGBM needs is not installed.
        """
        try:
            model = read_model(self._text)
        except ValueError as error:
            raise ArtifactCorrupt(f"model.pkl is not a valid LightGBM model: {error}") from error
        if any(tree.is_linear for tree in model.trees):
            raise ArtifactIncompatible("cannot explain the model: it has linear trees")
        load_openmp()
        import lightgbm

        try:
            return lightgbm.Booster(model_str=checked_text(model))
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactCorrupt(f"model.pkl is not a valid LightGBM model: {error}") from error

    @cached_property
    def base(self) -> float:
        """The expected raw score, as TreeSHAP defines it."""
        return float(self._shap(np.zeros((1, self.booster.num_feature())))[0, -1])

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores ``[n]``."""
        if len(matrix) == 0:
            return np.empty(0)
        out = self.booster.predict(matrix, raw_score=True, num_threads=_ONE_THREAD)
        return np.asarray(out, np.float64)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact TreeSHAP ``[n, features]`` (Lundberg et al. 2018); slow: up to 0.4 s per row."""
        return self._shap(matrix)[:, :-1]

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        """Raw scores, and the contributions of the chosen rows."""
        return explain_afterwards(self.raw, self.contributions, matrix, choose)

    def _shap(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        booster = self.booster
        import lightgbm

        try:
            out = booster.predict(matrix, pred_contrib=True, num_threads=_ONE_THREAD)
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactIncompatible(f"cannot explain the model: {error}") from error
        return np.asarray(out, np.float64)
