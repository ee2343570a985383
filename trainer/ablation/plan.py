"""The parameters of an ablation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final

from trainer.fitting.plan import ModelPlan, WrongUsageError

THREADS: Final = 1
"""Of one fit: fits run beside each other, which is faster than one fit with more threads."""


@dataclass(frozen=True, slots=True)
class AblationPlan:
    """What is the same in all fits of an ablation.

    The model is smaller than a served one, so that many fits take minutes. Every variant has the
    same number of trees: with early stopping, luck in the choice of trees would be part of the
    differences.

    Attributes:
        seeds: synthetic data: sets of rows, each with one model; other data: models for each
            window in time.
        seed_from: the first seed. Seeds whose figures are reported elsewhere must not be used
            here, because features are chosen by these.
        folds: windows in time, if the data are not synthetic.
        gap_days: days left out before a test window.
        trees, leaves, learning_rate: of each model.
        jobs: fits at the same time.
    """

    seeds: int = 5
    seed_from: int = 101
    folds: int = 3
    gap_days: float = 3.0
    trees: int = 150
    leaves: int = 31
    learning_rate: float = 0.1
    jobs: int = 1

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Every seed."""
        return tuple(range(self.seed_from, self.seed_from + self.seeds))

    def model(self, seed: int) -> ModelPlan:
        """The model's parameters; what is not named here is as in training."""
        return ModelPlan(
            trees=self.trees,
            leaves=self.leaves,
            learning_rate=self.learning_rate,
            seed=seed,
            threads=THREADS,
        )

    def basis(self) -> dict[str, Any]:
        """What must be equal so that results of two runs can be in one table."""
        model = asdict(self.model(0))
        for name in ("seed", "threads", "early_stopping_trees"):
            del model[name]
        return {"gap_days": self.gap_days, "model": model, "lightgbm": version("lightgbm")}

    def check(self) -> None:
        """Raise WrongUsageError for the first invalid value."""
        rules = (
            ("--seeds", self.seeds, 1 <= self.seeds <= 1000, "from 1 to 1000"),
            ("--seed-from", self.seed_from, 0 <= self.seed_from < 2**31 - 1000, "from 0 to 2^31"),
            ("--folds", self.folds, 1 <= self.folds <= 20, "from 1 to 20"),
            ("--gap-days", self.gap_days, 0 <= self.gap_days < 10_000, "from 0 to 10000 days"),
            ("--trees", self.trees, 1 <= self.trees <= 100_000, "from 1 to 100000"),
            ("--leaves", self.leaves, 2 <= self.leaves <= 16_384, "from 2 to 16384"),
            ("--learning-rate", self.learning_rate, 0 < self.learning_rate <= 1, "in (0, 1]"),
            ("--jobs", self.jobs, 1 <= self.jobs <= 256, "from 1 to 256"),
        )
        for flag, value, is_good, wanted in rules:
            if not is_good:
                raise WrongUsageError(f"{flag} {value} must be {wanted}")
