"""How long the features of a group or a key space take, in microseconds a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.partition import PartitionHistory
from trainer.ablation.variants import Variant
from trainer.history.rows import follow, measure_step

BATCH_ROWS: Final = 2_000
"""As many as a busy scorer takes at once."""

_ROUNDS: Final = 9
"""The fastest counts: whatever else the machine does only slows it down."""

Clock = Callable[[], float]


def only_operations(features: FeatureSet, places: Sequence[int]) -> FeatureSet:
    """A fitted feature set with some operations only, and without card history."""
    operations = tuple(features.program.operations[i] for i in places)
    program = replace(features.program, operations=operations, history=None)
    return FeatureSet(program, features.rows, [features.tables[i] for i in places])


def measure_variant(
    features: FeatureSet,
    variant: Variant,
    batch: TransactionBatch,
    clock: Clock = time.thread_time,
) -> float:
    """The processor time of a variant's features, in microseconds a row.

    Card history is measured in the state after all rows of the batch.
    """
    found = 0.0
    if variant.operations:
        found += _measure_operations(only_operations(features, variant.operations), batch, clock)
    if variant.history is not None:
        history = PartitionHistory(variant.history)
        follow(history, batch, lambda _: None)
        found += measure_step(history, batch, clock)
    return found


def _measure_operations(alone: FeatureSet, batch: TransactionBatch, clock: Clock) -> float:
    rows = batch.take(slice(0, BATCH_ROWS))
    alone.transform(rows)  # builds the tables
    fastest = float("inf")
    for _ in range(_ROUNDS):
        started = clock()
        alone.transform(rows)
        fastest = min(fastest, clock() - started)
    return fastest / len(rows) * 1e6
