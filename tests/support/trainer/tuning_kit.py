"""A search without data: trials and their figures, made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainer.fitting.plan import ModelPlan
from trainer.tuning.objective import Outcome
from trainer.tuning.study import OpenTrial, Study, Trial

FACTS = {"source": "synthetic:100:7", "rows": 100, "digest": "ab", "folds": 3, "seed": 7}


def make_trial(number: int, precision: float, microseconds: float | None = None) -> Trial:
    """A finished trial with these figures."""
    plan = replace(ModelPlan(), leaves=number + 4)
    outcome = Outcome(precision, precision, microseconds, 10 * number, 8.0, 3)
    return Trial(number, plan, outcome)


def open_study(storage: Path | None = None, *, frontier: bool = False, seed: int = 7) -> Study:
    """A study of up to 100 trees."""
    return Study(storage, FACTS, ModelPlan(trees=100, seed=seed), frontier=frontier)


def figures_of(trial: OpenTrial) -> Outcome:
    """Figures that depend on the plan alone: more leaves are slower, and 40 are best."""
    plan = trial.plan
    precision = 0.5 - abs(plan.leaves - 40) / 1000 - plan.l2 / 1000
    return Outcome(precision, precision, plan.leaves / 10, plan.trees, plan.leaves, 3)
