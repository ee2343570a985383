"""LightGBM; the trainer's only module that uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from stream_scorer.runtime.openmp import load_openmp
from trainer.fitting.fitted import Advance, Curve, Fitted, least_trees
from trainer.fitting.plan import ModelPlan


def parameters(plan: ModelPlan) -> dict[str, Any]:
    """LightGBM's parameters for a plan; the same data and plan give the same model."""
    return {
        "objective": "binary",
        # Early stopping uses the first metric, which matters most to a review team.
        "metric": ["average_precision", "binary_logloss"],
        "num_leaves": plan.leaves,
        "learning_rate": plan.learning_rate,
        "min_data_in_leaf": plan.min_rows_in_leaf,
        "feature_fraction": plan.feature_share,
        "bagging_fraction": plan.row_share,
        "bagging_freq": 1,
        "lambda_l2": plan.l2,
        "seed": plan.seed,
        "deterministic": True,
        "force_row_wise": True,
        # Else a data set would fit one value of min_data_in_leaf only, and tuning tries many.
        "feature_pre_filter": False,
        "num_threads": plan.threads,
        "verbosity": -1,
    }


def make_dataset(
    matrix: NDArray[np.float64],
    labels: NDArray[np.int8],
    names: tuple[str, ...],
    plan: ModelPlan,
    reference: Any = None,
) -> Any:
    """See :func:`trainer.fitting.fit.make_dataset`."""
    load_openmp()
    import lightgbm

    dataset = lightgbm.Dataset(
        matrix,
        label=labels,
        feature_name=list(names),
        reference=reference,
        params=parameters(plan),
        free_raw_data=True,
    )
    return dataset.construct()


def fit_model(
    train: Any,
    validation: Any | None,
    plan: ModelPlan,
    advance: Advance,
    curve: Curve | None = None,
) -> Fitted:
    """See :func:`trainer.fitting.fit.fit_model`."""
    import lightgbm

    def tick(state: Any) -> None:
        advance(1)
        for _, measure, value, _ in state.evaluation_result_list or ():
            if measure == "average_precision" and curve is not None:
                curve(value, state.iteration + 1)

    stop = lightgbm.early_stopping(plan.early_stopping_trees, first_metric_only=True, verbose=False)

    def stop_late(env: Any) -> None:
        first = least_trees(plan) - 1
        if env.iteration >= first:
            stop(replace(env, begin_iteration=first))

    callbacks = [tick] if validation is None else [tick, stop_late]
    options = parameters(plan)
    try:
        booster = lightgbm.train(
            options,
            train,
            num_boost_round=plan.trees,
            valid_sets=[] if validation is None else [validation],
            valid_names=[] if validation is None else ["validation"],
            callbacks=callbacks,
        )
    except lightgbm.basic.LightGBMError as error:
        raise UsageError(f"LightGBM: {error}") from error
    best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    gains = booster.feature_importance("gain", iteration=best)
    names = booster.feature_name()
    ranked = sorted(zip(names, gains.tolist(), strict=True), key=lambda item: -item[1])
    return Fitted(booster.model_to_string(num_iteration=best), best, dict(ranked), options)
