"""The parameters of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from stream_scorer.errors import UsageError


class WrongUsageError(UsageError):
    """The command line is invalid: exit code 2."""


DEFAULT_PROGRAM: Final = "ieee-cis/1"
"""The built-in feature program that is trained with if nothing else is said."""


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """Which features are computed.

    Attributes:
        program: the name of a built-in program, or a file.
        without: groups that are left out.
    """

    program: str = DEFAULT_PROGRAM
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How rows are split by time: train, then validation, then test, with gaps between them.

    Labels and clients continue across a boundary, so the gap leaves out the days after it. On
    short data the gap shrinks to ``max_gap_share`` of the whole time span.
    """

    validation_share: float = 0.15
    test_share: float = 0.15
    gap_days: float = 3.0
    max_gap_share: float = 0.02


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """LightGBM's parameters that a person may want to change.

    Training stops after ``early_stopping_trees`` trees without an improvement.
    """

    trees: int = 600
    leaves: int = 127
    learning_rate: float = 0.03
    min_rows_in_leaf: int = 40
    feature_share: float = 0.4
    row_share: float = 0.8
    l2: float = 1.0
    early_stopping_trees: int = 60
    seed: int = 7
    threads: int = 1


@dataclass(frozen=True, slots=True)
class DecisionPlan:
    """The requirements on thresholds.

    Attributes:
        review_budget: maximum share of transactions that may be flagged.
        block_precision: minimum precision among transactions blocked without a review.
        confidence: one-sided confidence that the precision is that high.
        min_blocked: minimum number of validation rows for an observed precision, if no score
            reaches it with confidence.
    """

    review_budget: float = 0.02
    block_precision: float = 0.9
    confidence: float = 0.9
    min_blocked: int = 10


@dataclass(frozen=True, slots=True)
class GatePlan:
    """When a model may be promoted.

    Attributes:
        times_chance: minimum ratio of average precision to fraud rate.
        min_roc_auc: minimum ROC AUC, whose 95 % interval must also be above one half.
        tolerance: how much worse than the champion it may be on the same rows, in average
            precision and in recall among the top 2 %. Two runs on the same data differ this much.
    """

    times_chance: float = 2.0
    min_roc_auc: float = 0.6
    tolerance: float = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """One training run."""

    features: FeaturePlan = FeaturePlan()
    split: SplitPlan = SplitPlan()
    model: ModelPlan = ModelPlan()
    decisions: DecisionPlan = DecisionPlan()
    gate: GatePlan = GatePlan()

    def facts(self) -> dict[str, Any]:
        """All parameters as plain data, for the metadata."""
        facts = asdict(self)
        model = facts["model"]
        # Published metadata has this key: keep it.
        model["patience_trees"] = model.pop("early_stopping_trees")
        return facts

    def check(self) -> None:
        """Raise WrongUsageError for the first invalid value."""
        split, model, decisions = self.split, self.model, self.decisions
        rules = (
            ("--trees", model.trees, 1 <= model.trees <= 100_000, "from 1 to 100000"),
            ("--leaves", model.leaves, 2 <= model.leaves <= 16_384, "from 2 to 16384"),
            ("--learning-rate", model.learning_rate, 0 < model.learning_rate <= 1, "in (0, 1]"),
            (
                "--review-budget",
                decisions.review_budget,
                0 < decisions.review_budget < 1,
                "a share in (0, 1)",
            ),
            (
                "--block-precision",
                decisions.block_precision,
                0 < decisions.block_precision < 1,
                "a share in (0, 1)",
            ),
            ("--gap-days", split.gap_days, 0 <= split.gap_days < 10_000, "from 0 to 10000 days"),
            (
                "--validation-share and --test-share",
                split.validation_share + split.test_share,
                split.validation_share > 0
                and split.test_share > 0
                and split.validation_share + split.test_share < 0.9,
                "positive shares with a sum below 0.9, so that rows remain to train on",
            ),
        )
        for flag, value, is_good, wanted in rules:
            if not is_good:
                raise WrongUsageError(f"{flag} {value} must be {wanted}")
