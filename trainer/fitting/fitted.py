"""What all learners share: their result, and when they may stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.fitting.plan import ModelPlan

Advance = Callable[[int], None]
"""Called with the number of trees just built."""

Curve = Callable[[float, int], None]
"""Called with the average precision on the validation rows, and the number of trees."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model.

    Attributes:
        model_text: the forest in LightGBM's text format, whichever library built it.
        trees: the boosting rounds that are used.
        gains: each feature's gain in training, the largest first.
        parameters: what the library was given.
    """

    model_text: str
    trees: int
    gains: dict[str, float]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def least_trees(plan: ModelPlan) -> int:
    """The trees of which early stopping may not choose fewer.

    The average precision on a hundred frauds is so noisy that the first few trees often look best.
    After ``3 / learning_rate`` trees a model has gone 95 % of the way from the base rate.
    """
    return min(math.ceil(3 / plan.learning_rate), plan.trees)
