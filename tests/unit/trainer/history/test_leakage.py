"""A control: history features after the update instead of before it would look better in training.

Frauds of the rows here come in bursts on new cards. Before the first one of a burst nothing is
known, so that no honest feature can find it; whoever sees later rows finds them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch, build_batch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.forest.predictor import build_predictor
from tests.support.factories import make_transaction
from tests.support.training.history_kit import CARD, make_history_program, make_spec, same_bits
from trainer.data.ingest import Part, TrainingRows
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.fit import fit_model, make_dataset
from trainer.fitting.plan import ModelPlan
from trainer.history.rows import compute_history

BURSTS, BURST_ROWS, NORMAL = 60, 5, 1500
SPEC, PROGRAM = make_spec(CARD), make_history_program(CARD)
PLAN = ModelPlan(trees=30, leaves=7, learning_rate=0.2, min_rows_in_leaf=10, feature_share=1.0)


def make_rows() -> Part:
    """Normal rows of few cards, and bursts of frauds, each on a card of its own."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    labels: list[int] = []

    def add(card: int, time: int, label: int) -> None:
        amount = float(np.round(rng.gamma(2.0, 60.0) + 0.5, 2))
        rows.append(make_transaction(len(rows), amount, card1=float(card), TransactionDT=time))
        labels.append(label)

    for _ in range(NORMAL):
        add(int(rng.integers(1, 3000)), int(rng.integers(0, 60 * 86_400)), 0)
    for burst in range(BURSTS):
        start = int(rng.integers(0, 60 * 86_400))
        for i in range(BURST_ROWS):
            add(10_000 + burst, start + 200 * i, 1)
    order = np.argsort([row["TransactionDT"] for row in rows], kind="stable")
    batch = build_batch([rows[i] for i in order])
    return Part(batch, np.array(labels, np.int8)[order])


def after_the_update(batch: TransactionBatch) -> NDArray[np.float64]:
    """Leaks: all rows have advanced the histories before any feature is read."""
    history, out = PartitionHistory(SPEC), np.empty((len(batch), len(SPEC.names)))
    rows = np.arange(len(batch))
    history.settle(history.step(batch, rows, np.ones(len(batch), np.bool_), out))
    history.peek(batch, rows, out)
    return out


def before_the_update(batch: TransactionBatch) -> NDArray[np.float64]:
    rows = TrainingRows([batch], np.zeros(len(batch), np.int8), batch.times, {})
    return compute_history(rows, SPEC, lambda _: None).columns.values


def precision(part: Part, values: NDArray[np.float64], judged: NDArray[np.bool_]) -> float:
    """Average precision of a model on later rows, of which only some are judged."""
    batch = part.batch.with_history(HistoryColumns(SPEC.fingerprint, values))
    cut = len(batch) * 6 // 10
    features, matrix = FeatureSet.fit_transform(batch.take(slice(0, cut)), PROGRAM)
    data = make_dataset(matrix, part.labels[:cut], features.names, PLAN)
    fitted = fit_model(data, None, PLAN, lambda _: None)
    later = features.transform(batch.take(slice(cut, None)))
    scores = build_predictor(fitted.model_text).raw(later)
    chosen = judged[cut:]
    return average_precision(rank(scores[chosen], part.labels[cut:][chosen]))


@pytest.fixture(scope="module")
def part() -> Part:
    return make_rows()


def test_features_after_the_update_raise_average_precision_where_nothing_can_be_known(
    part: Part,
) -> None:
    honest, leaking = before_the_update(part.batch), after_the_update(part.batch)
    counts = honest[:, SPEC.names.index("card_count_1h")]
    first = np.isnan(counts) | (part.labels == 0)  # the first row of a burst, and normal rows
    chance = float(part.labels[first].mean())
    assert precision(part, honest, first) < 3 * chance
    assert precision(part, leaking, first) > 0.9
    # From the second row of a burst on, an honest history knows it.
    later = ~np.isnan(counts) | (part.labels == 0)
    assert precision(part, honest, later) > 0.9


def test_check_of_later_rows_finds_the_leak(part: Part) -> None:
    n = len(part) // 2
    half = part.batch.take(slice(0, n))
    assert same_bits(before_the_update(half), before_the_update(part.batch)[:n])
    assert not same_bits(after_the_update(half), after_the_update(part.batch)[:n])
