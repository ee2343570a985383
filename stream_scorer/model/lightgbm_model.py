"""LightGBM itself: the reference, the fallback, and exact TreeSHAP on request."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible, FatalError
from stream_scorer.model.explained import Choose, Explained, explain_afterwards

_ONE_THREAD = 1
"""Threads beyond one gain little on small batches and fight over a container's CPU share."""


class LightGBMModel:
    """A Booster made from its text when first used (the import alone takes a second)."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def booster(self) -> Any:
        """The Booster.

        Raises:
            ArtifactCorrupt: the text is no model.
            FatalError: the system lacks LightGBM's runtime library.
        """
        require_openmp()
        import lightgbm

        try:
            return lightgbm.Booster(model_str=self._text)
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactCorrupt(f"model.pkl holds no LightGBM model: {error}") from error

    @cached_property
    def base(self) -> float:
        """The expected raw score, as TreeSHAP has it."""
        return float(self._shap(np.zeros((1, self.booster.num_feature())))[0, -1])

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores ``[n]``."""
        if len(matrix) == 0:
            return np.empty(0)
        out = self.booster.predict(matrix, raw_score=True, num_threads=_ONE_THREAD)
        return np.asarray(out, np.float64)

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact TreeSHAP ``[n, features]`` (Lundberg et al. 2018); slow: up to 0.4 s a row.

        Raises:
            ArtifactIncompatible: LightGBM has none for this kind of model (linear trees).
        """
        return self._shap(matrix)[:, :-1]

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        """Raw scores, and contributions of the chosen rows alone."""
        return explain_afterwards(self.raw, self.contributions, matrix, choose)

    def _shap(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        booster = self.booster
        import lightgbm

        try:
            out = booster.predict(matrix, pred_contrib=True, num_threads=_ONE_THREAD)
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactIncompatible(f"the model cannot be explained: {error}") from error
        return np.asarray(out, np.float64)


def require_openmp() -> None:
    """LightGBM needs GNU OpenMP, which slim systems lack.

    Raises:
        FatalError: it is not there; says how to get it.
    """
    import platform

    if platform.system() != "Linux":
        return
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        raise FatalError(
            "LightGBM needs the library libgomp.so.1, which this system lacks: "
            "install the package libgomp1 (Debian, Ubuntu) or libgomp (Fedora, Alpine)"
        ) from None
