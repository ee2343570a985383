"""How long a group's features take, in microseconds a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet

BATCH_ROWS: Final = 2_000
"""As many as a busy scorer takes at once."""

_ROUNDS: Final = 9
"""The fastest counts: whatever else the machine does only slows it down."""

Clock = Callable[[], float]


def only_groups(features: FeatureSet, groups: Collection[str]) -> FeatureSet:
    """A fitted feature set with the operations of some groups only."""
    kept = [
        (operation, table)
        for operation, table in zip(features.program.operations, features.tables, strict=True)
        if operation.group in groups
    ]
    program = replace(features.program, operations=tuple(operation for operation, _ in kept))
    return FeatureSet(program, features.rows, [table for _, table in kept])


def measure_group(
    features: FeatureSet,
    group: str,
    batch: TransactionBatch,
    clock: Clock = time.thread_time,
) -> float:
    """The processor time of the group's features, in microseconds a row."""
    alone = only_groups(features, (group,))
    rows = batch.take(slice(0, BATCH_ROWS))
    alone.transform(rows)  # builds the tables
    fastest = float("inf")
    for _ in range(_ROUNDS):
        started = clock()
        alone.transform(rows)
        fastest = min(fastest, clock() - started)
    return fastest / len(rows) * 1e6
