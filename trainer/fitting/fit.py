"""Fits models with the library that the plan names. Both libraries have the same functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.fitting import fit_lightgbm, fit_xgboost
from trainer.fitting.fitted import Advance, Curve, Fitted, least_trees
from trainer.fitting.plan import XGBOOST, ModelPlan

__all__ = ["Advance", "Curve", "Fitted", "fit_model", "least_trees", "make_dataset"]


def make_dataset(
    matrix: NDArray[np.float64],
    labels: NDArray[np.int8],
    names: tuple[str, ...],
    plan: ModelPlan,
    reference: Any = None,
) -> Any:
    """Bin the rows for the plan's learner; the matrix is not needed afterwards.

    ``reference`` is the data set of the training rows, whose bins validation rows use.

    Raises:
        FatalError: a library that the learner needs is not installed.
        UsageError: the learner cannot read a value.
    """
    make = fit_xgboost.make_dataset if plan.learner == XGBOOST else fit_lightgbm.make_dataset
    return make(matrix, labels, names, plan, reference)


def fit_model(
    train: Any,
    validation: Any | None,
    plan: ModelPlan,
    advance: Advance,
    curve: Curve | None = None,
) -> Fitted:
    """Boost until the average precision on the validation rows stops improving.

    It does not stop before :func:`trainer.fitting.fitted.least_trees`. Without validation rows
    there are exactly ``plan.trees`` trees.

    Raises:
        UsageError: the library refuses the parameters.
    """
    fit = fit_xgboost.fit_model if plan.learner == XGBOOST else fit_lightgbm.fit_model
    return fit(train, validation, plan, advance, curve)
