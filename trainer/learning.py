"""Learns from a part of the rows: fits the features, then the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.batch import HistoryColumns
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from trainer.data.ingest import Part
from trainer.data.rows import some_rows
from trainer.fitting.fit import Curve, Fitted, fit_model, make_dataset
from trainer.fitting.plan import ModelPlan
from trainer.history.rows import with_history
from trainer.stages import Stages


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained model and the features that it was trained with."""

    features: FeatureSet
    fitted: Fitted


@dataclass(slots=True)
class TreeCount:
    """The trees of all fits of a run, for the progress bar; early stopping lowers the total."""

    total: int
    done: int = 0


@dataclass(frozen=True, slots=True)
class Learning:
    """Trains on slices of the rows.

    Attributes:
        rows: all rows, in the order of time, with the card history that the program needs.
        program: the features.
        stages: where time and progress are recorded.
        trees: the trees of the whole run.
        histories: history spec's fingerprint → its features of all rows, for other programs.
    """

    rows: Part
    program: Program
    stages: Stages
    trees: TreeCount
    histories: Mapping[str, HistoryColumns] = field(default_factory=dict)

    def with_program(self, program: Program) -> Learning:
        """The same rows with another program, whose history is among :attr:`histories`."""
        rows = with_history(self.rows, program, self.histories)
        return replace(self, rows=rows, program=program)

    def learn(
        self,
        train: slice,
        validation: slice | None,
        trees: int,
        plan: ModelPlan,
        curve: Curve | None = None,
    ) -> Learned:
        """Train on some rows, with early stopping on others, or with a fixed number of trees.

        Features are fitted on the training rows alone. ``curve`` is called after each tree.

        Raises:
            UsageError: the learner refuses the parameters.
        """
        with self.stages.stage("features"):
            features, train_set = self._fit_features(train, plan)
            watched = None
            if validation is not None:
                part = some_rows(self.rows, validation)
                matrix = features.transform(part.batch)
                watched = make_dataset(matrix, part.labels, features.names, plan, train_set)
                del matrix
        built = 0
        with self.stages.stage(
            "fit", self.trees.total, "trees", is_limit=True, done=self.trees.done
        ) as advance:

            def count(steps: int) -> None:
                nonlocal built
                built += steps
                advance(steps)

            fitted = fit_model(train_set, watched, replace(plan, trees=trees), count, curve)
        self.trees.done += built
        self.trees.total -= trees - built
        return Learned(features, fitted)

    def _fit_features(self, rows: slice, plan: ModelPlan) -> tuple[FeatureSet, Any]:
        """Features fitted on some rows, and these rows in the learner's bins: a byte a value."""
        part = some_rows(self.rows, rows)
        features, matrix = FeatureSet.fit_transform(part.batch, self.program)
        return features, make_dataset(matrix, part.labels, features.names, plan)
