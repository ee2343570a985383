"""XGBoost; the trainer's only module that uses it. The result is a forest like LightGBM's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import FatalError, UsageError
from stream_scorer.model.forest.layout import UnsupportedModel
from trainer.fitting.fitted import Advance, Curve, Fitted, least_trees
from trainer.fitting.plan import ModelPlan
from trainer.fitting.xgboost_forest import ZERO, forest_text, total_gains
from trainer.fitting.xgboost_model import OBJECTIVE, read_xgboost

_BLOCK_ROWS: Final = 16_384
_METRIC: Final = "aucpr"  # the area under the curve of precision and recall


@dataclass(frozen=True, slots=True)
class BinnedRows:
    """Rows in XGBoost's bins; ``fraud_rate`` is the share of rows with label 1."""

    matrix: Any
    names: tuple[str, ...]
    fraud_rate: float


def parameters(plan: ModelPlan, fraud_rate: float) -> dict[str, Any]:
    """XGBoost's parameters for a plan; the same data and plan give the same model.

    XGBoost limits the sum of the second derivatives in a leaf, not the number of rows. A row at the
    fraud rate ``p`` has the second derivative ``p * (1 - p)``.
    """
    return {
        "objective": OBJECTIVE,
        "eval_metric": _METRIC,
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": plan.leaves,
        "learning_rate": plan.learning_rate,
        "min_child_weight": plan.min_rows_in_leaf * fraud_rate * (1 - fraud_rate),
        "colsample_bytree": plan.feature_share,
        "subsample": plan.row_share,
        "lambda": plan.l2,
        "seed": plan.seed,
        "nthread": plan.threads,
        "verbosity": 0,
    }


def make_dataset(
    matrix: NDArray[np.float64],
    labels: NDArray[np.int8],
    names: tuple[str, ...],
    plan: ModelPlan,
    reference: BinnedRows | None = None,
) -> BinnedRows:
    """See :func:`trainer.fitting.fit.make_dataset`."""
    xgboost = _load()
    binned = xgboost.QuantileDMatrix(
        _single_precision(matrix, names),
        label=labels,
        nthread=plan.threads,
        ref=None if reference is None else reference.matrix,
    )
    return BinnedRows(binned, names, float(labels.mean()))


def fit_model(
    train: BinnedRows,
    validation: BinnedRows | None,
    plan: ModelPlan,
    advance: Advance,
    curve: Curve | None = None,
) -> Fitted:
    """See :func:`trainer.fitting.fit.fit_model`."""
    xgboost = _load()

    class Tick(xgboost.callback.TrainingCallback):  # type: ignore[misc,name-defined]
        def after_iteration(self, _: Any, epoch: int, found: Any) -> bool:
            advance(1)
            if curve is not None and "validation" in found:
                curve(found["validation"][_METRIC][-1], epoch + 1)
            return False

    class StopLate(xgboost.callback.EarlyStopping):  # type: ignore[misc,name-defined]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if epoch < least_trees(plan) - 1:
                return False
            return bool(super().after_iteration(model, epoch, evals_log))

    callbacks: list[Any] = [Tick()]
    if validation is not None:
        callbacks.append(
            StopLate(
                rounds=plan.early_stopping_trees,
                metric_name=_METRIC,
                data_name="validation",
                maximize=True,
            )
        )
    options = parameters(plan, train.fraud_rate)
    try:
        booster = xgboost.train(
            options,
            train.matrix,
            num_boost_round=plan.trees,
            evals=[] if validation is None else [(validation.matrix, "validation")],
            callbacks=callbacks,
            verbose_eval=False,
        )
        model = read_xgboost(bytes(booster.save_raw("json")))
        text = forest_text(model, train.names)
    except (xgboost.core.XGBoostError, UnsupportedModel) as error:
        raise UsageError(f"XGBoost: {error}") from error
    return Fitted(text, len(model.trees), total_gains(model, train.names), options)


def _load() -> Any:
    """The library, loaded when it is used: it takes a second.

    Raises:
        FatalError: it is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise FatalError(
            f"--learner xgboost needs the package xgboost-cpu (Linux) or xgboost: {error}"
        ) from error
    return xgboost


def _single_precision(matrix: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float32]:
    """The matrix as XGBoost reads it, with 0 for numbers that the forest reads as 0.

    Raises:
        UsageError: a number is beyond single precision.
    """
    single = np.empty(matrix.shape, np.float32)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = single[start : start + _BLOCK_ROWS]
        with np.errstate(over="ignore"):
            block[:] = matrix[start : start + _BLOCK_ROWS]
        block[np.abs(block) <= np.float32(ZERO)] = 0
        if np.isinf(block).any():
            row, column = np.argwhere(np.isinf(block))[0].tolist()
            raise UsageError(
                f"XGBoost reads numbers up to 3.4e38, and {names[column]} is "
                f"{matrix[start + row, column]:g} in one row: use --learner lightgbm"
            )
    return single
