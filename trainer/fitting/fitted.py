"""What every learner returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Advance = Callable[[int], None]
"""Called with the number of trees just built."""


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
