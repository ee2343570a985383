"""Models whose features read card history, trained on the first rows of a synthetic data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.program import Program
from stream_scorer.model.bundle import Draft, Thresholds, build_files
from stream_scorer.model.bundled_history import HistoryDraft
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.port import ArtifactStore
from tests.support.factories import train_text
from trainer.history.golden_stream import golden_stream
from trainer.history.seed import Seed

HISTORY: Final = "history/1"
_GOLDEN: Final = 40
_FRAUD_SHARE: Final = 0.5  # so that trees split often, and a score changes with every feature
_TREES: Final = 60


def load_history_program(name: str = HISTORY, *, with_history: bool = True) -> Program:
    """A built-in program for few rows, with or without its history."""
    program = load_builtin(name).with_min_count(5)
    return program if with_history else replace(program, history=None)


@dataclass(frozen=True)
class HistoryModels:
    """Models of one program; all versions have the same history and different trees.

    Attributes:
        program: the features.
        rows: training rows in time order, with their history if the program has one.
        seed: the histories after them, which versions bring along; None: they begin without.
    """

    program: Program
    rows: TransactionBatch
    seed: Seed | None = None

    @property
    def spec(self) -> HistorySpec:
        """The history features."""
        assert self.program.history is not None
        return self.program.history

    def publish(self, store: ArtifactStore, histories: HistoryStore, number: int = 1) -> str:
        """Publish and promote a version; each number has trees of its own."""
        if self.seed is not None:
            assert histories.write_seed(self.seed.content) == self.seed.facts.sha256
        version = store.publish(*build_files(self.draft(number)))
        store.promote(version, store.current())
        return version

    def draft(self, number: int) -> Draft:
        """A version before it is published."""
        features, matrix = self._fitted
        text = train_text(
            matrix, features.names, number, _TREES, label=_label(matrix, features.names, number)
        )
        history = None
        if self.program.history is not None:
            self._require_history_splits(text)
            seed = None if self.seed is None else self.seed.facts
            history = HistoryDraft(golden_stream(self.spec), seed)
        golden = self.rows.take(slice(len(self.rows) - _GOLDEN, None))
        facts = {"metrics": {"note": "made by a test"}}
        return Draft(text, features, Thresholds(0.9, 0.97), golden, facts, None, history)

    @cached_property
    def _fitted(self) -> tuple[FeatureSet, NDArray[np.float64]]:
        return FeatureSet.fit_transform(self.rows, self.program)

    def _require_history_splits(self, text: str) -> None:
        """Scores that do not depend on the history would prove nothing about it."""
        features, _ = self._fitted
        lines = [line for line in text.splitlines() if line.startswith("split_feature=")]
        used = {features.names[int(i)] for line in lines for i in line.partition("=")[2].split()}
        assert len(used & set(self.spec.names)) > len(self.spec.names) // 3, used


def _label(matrix: NDArray[np.float64], names: tuple[str, ...], seed: int) -> NDArray[np.bool_]:
    """A label to which the amount and every feature of the client's past contribute."""
    wanted = [i for i, n in enumerate(names) if n == "TransactionAmt" or n.startswith("client_")]
    columns: Any = np.nan_to_num(matrix[:, wanted])
    columns = (columns - columns.mean(0)) / np.maximum(columns.std(0), 1e-9)
    rng = np.random.default_rng(seed)
    total: NDArray[np.float64] = np.clip(columns, -3, 3) @ rng.uniform(0.5, 1.5, len(wanted))
    total += rng.normal(0, total.std(), len(total))  # else a few columns suffice
    labels: NDArray[np.bool_] = total > np.quantile(total, 1 - _FRAUD_SHARE)
    return labels
