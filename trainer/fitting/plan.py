"""The parameters of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from stream_scorer.errors import UsageError
from trainer.fitting.decisions import DecisionPlan

LIGHTGBM: Final = "lightgbm"
XGBOOST: Final = "xgboost"
LEARNERS: Final = (LIGHTGBM, XGBOOST)


class WrongUsageError(UsageError):
    """The command line is invalid: exit code 2."""


_WINDOW_SHARE: Final = 0.15
_MOST_TESTED: Final = 0.45
# Three windows of 15 % are about the last three of the six months of the IEEE-CIS data. The first
# fold still learns from more than half of the rows, and each window has thousands of frauds there.

DEFAULT_PROGRAM: Final = "default/1"
"""The built-in feature program that is trained with if nothing else is said."""


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """Which features are computed.

    Attributes:
        program: the name of a built-in program, or a file.
        without: groups that are left out.
        has_seed: card histories at the end of the training rows are published, if the program has
            some.
    """

    program: str = DEFAULT_PROGRAM
    without: tuple[str, ...] = ()
    has_seed: bool = True


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How rows are split by time: expanding windows, each tested on the rows that follow it.

    Labels and clients continue across a boundary, so the gap leaves out the days before a test
    window, and before the validation rows. On short data the gap shrinks to ``max_gap_share`` of
    the whole time span.

    Attributes:
        folds: the number of test windows.
        validation_share: the last part of each training window, for early stopping.
        test_share: share of all rows, the latest, in all test windows together; None: 15 % for
            each fold, but not more than 45 %.
        gap_days: days between two parts of a fold.
        max_gap_share: the most that a gap is of the whole time span.
    """

    folds: int = 3
    validation_share: float = 0.15
    test_share: float | None = None
    gap_days: float = 3.0
    max_gap_share: float = 0.02

    @property
    def tested_share(self) -> float:
        """The share of all rows in the test windows."""
        if self.test_share is not None:
            return self.test_share
        return min(_WINDOW_SHARE * self.folds, _MOST_TESTED)


_PUBLISHED_NAMES: Final = {"patience_trees": "early_stopping_trees"}
"""Names in published metadata, which are kept, and what they are called here."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The parameters of a forest that a person may want to change.

    They are LightGBM's; :mod:`trainer.fitting.fit_xgboost` gives XGBoost their equivalents.
    Training stops after ``early_stopping_trees`` trees without an improvement. ``trees`` is the
    most that any model has, and so a bound of the time that scoring takes.
    """

    trees: int = 600
    leaves: int = 31
    learning_rate: float = 0.05
    min_rows_in_leaf: int = 50
    feature_share: float = 0.3
    row_share: float = 0.8
    l2: float = 5.0
    early_stopping_trees: int = 60
    seed: int = 7
    threads: int = 1
    learner: str = LIGHTGBM

    @classmethod
    def from_facts(cls, facts: Any, threads: int) -> ModelPlan | None:
        """The plan in the metadata of a version; None if this code cannot repeat it."""
        if not isinstance(facts, dict):
            return None
        given: dict[str, Any] = {
            _PUBLISHED_NAMES.get(str(name), str(name)): value for name, value in facts.items()
        }
        given["threads"] = threads
        types = {one.name: type(one.default) for one in fields(cls)}
        if any(types.get(name) is not type(value) for name, value in given.items()):
            return None
        plan = cls(**given)
        try:
            Plan(model=plan).check()
        except WrongUsageError:
            return None
        return plan


@dataclass(frozen=True, slots=True)
class GatePlan:
    """When a model may be promoted.

    Attributes:
        times_chance: minimum ratio of average precision to fraud rate.
        min_roc_auc: minimum ROC AUC, whose 95 % interval must also be above one half.
        tolerance: how much worse than the champion it may look on the same rows, in average
            precision and in recall at the review budget, as long as that may be chance. Two runs
            on the same data differ this much.
        margin: a loss that a team would notice. A candidate that looks worse is refused if the
            95 % interval of the difference does not exclude it.
        min_frauds: minimum number of frauds among the rows that a model is judged on.
        max_slowdown: how many times as long as the champion it may take to score a row.
        noticeable_us: microseconds a row that it may take longer in any case. A scorer takes more
            than ten to read, score and publish a row, and next to a champion with a few splits any
            useful model looks slow.
    """

    times_chance: float = 2.0
    min_roc_auc: float = 0.6
    tolerance: float = 0.02
    margin: float = 0.05
    min_frauds: int = 30
    max_slowdown: float = 2.0
    noticeable_us: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One training run.

    With ``is_refit``, the served model is trained on all rows after the evaluation. Otherwise it is
    that of the last fold.
    """

    features: FeaturePlan = FeaturePlan()
    split: SplitPlan = SplitPlan()
    model: ModelPlan = ModelPlan()
    decisions: DecisionPlan = field(default_factory=DecisionPlan)
    gate: GatePlan = GatePlan()
    is_refit: bool = True

    def facts(self) -> dict[str, Any]:
        """All parameters as plain data, for the metadata."""
        facts = asdict(self)
        model = facts["model"]
        for published, name in _PUBLISHED_NAMES.items():
            model[published] = model.pop(name)
        return facts

    def check(self) -> None:
        """Raise WrongUsageError for the first invalid value."""
        split, model = self.split, self.model
        rules = (
            ("--trees", model.trees, 1 <= model.trees <= 100_000, "from 1 to 100000"),
            ("--leaves", model.leaves, 2 <= model.leaves <= 16_384, "from 2 to 16384"),
            ("--learning-rate", model.learning_rate, 0 < model.learning_rate <= 1, "in (0, 1]"),
            (
                "--min-rows-in-leaf",
                model.min_rows_in_leaf,
                0 <= model.min_rows_in_leaf <= 1_000_000,
                "from 0 to 1000000",
            ),
            ("--feature-share", model.feature_share, 0 < model.feature_share <= 1, "in (0, 1]"),
            ("--row-share", model.row_share, 0 < model.row_share <= 1, "in (0, 1]"),
            ("--l2", model.l2, 0 <= model.l2 <= 1e9, "from 0 to 1e9"),
            ("--learner", model.learner, model.learner in LEARNERS, " or ".join(LEARNERS)),
            ("--gap-days", split.gap_days, 0 <= split.gap_days < 10_000, "from 0 to 10000 days"),
            ("--folds", split.folds, 1 <= split.folds <= 20, "from 1 to 20"),
            (
                "--validation-share",
                split.validation_share,
                0 < split.validation_share <= 0.5,
                "a share in (0, 0.5], so that rows remain to train on",
            ),
            (
                "--test-share",
                split.tested_share,
                0 < split.tested_share <= 0.8,
                "a share in (0, 0.8], so that rows remain to train on",
            ),
            ("--max-slowdown", self.gate.max_slowdown, self.gate.max_slowdown > 0, "above 0"),
            *self.decisions.rules(),
        )
        for flag, value, is_good, wanted in rules:
            if not is_good:
                raise WrongUsageError(f"{flag} {value} must be {wanted}")
