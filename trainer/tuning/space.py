"""The parameters that tuning tries, and their ranges."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any, Final, Protocol

from trainer.fitting.plan import DEFAULT_PROGRAM, FeaturePlan, ModelPlan

_WHOLE: Final = {
    "leaves": (4, 255),  # up to 256 leaves the compiled forest scans trees, which is faster
    "min_rows_in_leaf": (5, 500),
}
_LOGARITHMIC: Final = {"learning_rate": (0.01, 0.3), "l2": (0.01, 100.0)}
_SHARES: Final = {"feature_share": (0.1, 1.0), "row_share": (0.5, 1.0)}
_FEWEST_TREES: Final = 20
_DIGITS: Final = 3  # of a number that people paste


class Suggests(Protocol):
    """What this module needs from a trial of Optuna."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """A whole number from ``low`` to ``high``."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number from ``low`` to ``high``."""
        ...


def suggest_plan(trial: Suggests, plan: ModelPlan, *, with_trees: bool) -> ModelPlan:
    """The plan with suggested parameters; ``with_trees`` lowers the number of trees too."""
    found: dict[str, int | float] = {
        name: trial.suggest_int(name, low, high, log=True) for name, (low, high) in _WHOLE.items()
    }
    for ranges, is_log in ((_LOGARITHMIC, True), (_SHARES, False)):
        for name, (low, high) in ranges.items():
            found[name] = _short(trial.suggest_float(name, low, high, log=is_log))
    if with_trees:
        fewest = min(_FEWEST_TREES, plan.trees)
        found["trees"] = trial.suggest_int("trees", fewest, plan.trees, log=True)
    return replace(plan, **found)  # type: ignore[arg-type]


def own_parameters(plan: ModelPlan, *, with_trees: bool) -> dict[str, int | float]:
    """A plan's own values of the parameters that tuning tries, moved into their ranges."""
    found: dict[str, int | float] = {}
    for name, (low, high) in {**_WHOLE, **_LOGARITHMIC, **_SHARES}.items():
        found[name] = min(max(getattr(plan, name), low), high)
    if with_trees:
        found["trees"] = plan.trees
    return found


def train_flags(plan: ModelPlan, features: FeaturePlan | None = None) -> str:
    """The flags that give ``fraud-trainer train`` this plan, and features if others are meant."""
    flags: dict[str, Any] = {
        "--learner": plan.learner,
        "--trees": plan.trees,
        "--leaves": plan.leaves,
        "--learning-rate": plan.learning_rate,
        "--min-rows-in-leaf": plan.min_rows_in_leaf,
        "--feature-share": plan.feature_share,
        "--row-share": plan.row_share,
        "--l2": plan.l2,
        "--seed": plan.seed,
    }
    features = features or FeaturePlan()
    if features.program != DEFAULT_PROGRAM:
        flags["--features"] = features.program
    if features.without:
        flags["--without"] = ",".join(features.without)
    return shlex.join(word for flag, value in flags.items() for word in (flag, str(value)))


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
