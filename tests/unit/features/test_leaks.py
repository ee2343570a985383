"""No training feature knows its own row or a later one, and checks that would find one that does.

The shares and means that were fitted on all training rows, and applied to the same rows, were the
case for this: a card that was never seen before had its own later rows in its share, and a model
learned from that what no stream can repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.operations.base import Learned, Operation, numbers
from stream_scorer.features.operations.columns import Kind
from stream_scorer.features.operations.keys import number_keys
from stream_scorer.features.operations.shares import RatioToMean, Share
from stream_scorer.features.operations.texts import Code
from tests.support.features.leaks import (
    program_of,
    seeing_later_rows,
    shifts,
    stationary_rows,
    unlike_serving,
)
from tests.support.features.plain_features import every_operation

TRAIN, ALL = 3000, 4000
LARGEST_SHIFT = 0.1
"""Of a feature that does not leak, on rows of one distribution."""

FITTED = [operation for operation in every_operation().operations if operation.IS_FITTED]


def served_on_itself(operation: Operation, batch: TransactionBatch, table: Any) -> Learned:
    """The served features of the rows that the table was fitted on."""
    features = FeatureSet(program_of([operation]), len(batch), [table])
    return Learned(table, features.transform(batch))


@dataclass(frozen=True)
class ShareOfAllRows(Share):
    """Leaks: a row's share counts itself and later rows."""

    def fit(self, batch: TransactionBatch) -> Learned:
        return served_on_itself(Share(*of(self)), batch, super().fit(batch).table)


@dataclass(frozen=True)
class CodeOfAllRows(Code):
    """Leaks: a level has its code before it was seen often enough."""

    def fit(self, batch: TransactionBatch) -> Learned:
        return served_on_itself(Code(*of(self)), batch, super().fit(batch).table)


@dataclass(frozen=True)
class RatioOfAllRows(RatioToMean):
    """Leaks: an amount is compared with a mean of which it is a part."""

    def fit(self, batch: TransactionBatch) -> Learned:
        return served_on_itself(RatioToMean(*of(self)), batch, super().fit(batch).table)


@dataclass(frozen=True)
class ShareWithItself(Share):
    """Leaks: a row's share counts itself, though no later row."""

    KINDS = (Kind.NUMBER,)

    def fit(self, batch: TransactionBatch) -> Learned:
        values = np.empty((len(batch), len(self.columns)))
        for i, column in enumerate(numbers(self.columns)):
            keys, found = number_keys(batch.numbers[:, column])
            counts = np.zeros(len(found) + 1)
            for r, key in enumerate(keys.tolist()):
                counts[key] += 1
                values[r, i] = counts[key] / (r + 1)
        return Learned(super().fit(batch).table, values)


def of(operation: Operation) -> list[Any]:
    return [getattr(operation, field.name) for field in fields(operation)]


ALL_ROWS: list[Operation] = [
    ShareOfAllRows("leaks", ("card1", "P_emaildomain"), ("card1_share", "P_emaildomain_share")),
    CodeOfAllRows("leaks", ("DeviceInfo",), ("DeviceInfo",), 2),
    RatioOfAllRows("leaks", ("TransactionAmt", "card1"), ("ratio",), 2),
]
ITSELF = ShareWithItself("leaks", ("card1",), ("card1_share",))


def test_no_operation_sees_later_rows() -> None:
    assert seeing_later_rows(program_of(FITTED), stationary_rows(300, 1)) == []


def test_no_operation_differs_from_what_was_served_before_the_row() -> None:
    assert unlike_serving(program_of(FITTED), stationary_rows(300, 1)) == []


def test_training_rows_are_distributed_as_the_next_period() -> None:
    found = shifts(program_of(FITTED), stationary_rows(ALL, 2), TRAIN)
    assert {name: shift for name, shift in found.items() if shift > LARGEST_SHIFT} == {}


@pytest.mark.parametrize("operation", ALL_ROWS, ids=lambda o: type(o).__name__)
def test_fitting_on_all_rows_is_caught_by_each_check(operation: Operation) -> None:
    program = program_of([operation])
    assert seeing_later_rows(program, stationary_rows(300, 1)) == sorted(operation.names)
    assert unlike_serving(program, stationary_rows(300, 1)) == sorted(operation.names)
    found = shifts(program, stationary_rows(ALL, 2), TRAIN)
    assert min(found.values()) > LARGEST_SHIFT


def test_counting_the_row_itself_is_caught_though_no_later_row_matters() -> None:
    program = program_of([ITSELF])
    assert seeing_later_rows(program, stationary_rows(300, 1)) == []
    assert unlike_serving(program, stationary_rows(300, 1)) == ["card1_share"]
    assert shifts(program, stationary_rows(ALL, 2), TRAIN)["card1_share"] > LARGEST_SHIFT


def test_rows_have_values_that_the_training_rows_lack() -> None:
    """Else a share of all rows would look like one of earlier rows."""
    batch = stationary_rows(ALL, 2)
    features = FeatureSet.fit(batch.take(slice(0, TRAIN)), program_of(FITTED))
    served = features.transform(batch.take(slice(TRAIN, None)))
    unseen = served[:, features.names.index("card1_share")] == 0
    assert 0.01 < float(unseen.mean()) < 0.5
