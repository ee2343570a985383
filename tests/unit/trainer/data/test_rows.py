"""All rows in one batch, in the order of time."""

from __future__ import annotations

import itertools

import numpy as np

from schemas.batch import TransactionBatch, concatenate
from tests.support.factories import make_batch
from trainer.data.ingest import TrainingRows
from trainer.data.rows import join_rows, some_rows


def make_rows(batch: TransactionBatch, chunks: int = 3) -> TrainingRows:
    cuts = np.linspace(0, len(batch), chunks + 1).astype(int)
    pieces = [batch.take(slice(a, b)) for a, b in itertools.pairwise(cuts)]
    labels = (batch.ids % 5 == 0).astype(np.int8)
    return TrainingRows(pieces, labels, batch.times, {})


def as_objects(batch: TransactionBatch) -> list[dict[str, object]]:
    return [batch.row(i) for i in range(len(batch))]


def test_chunks_are_joined_and_freed() -> None:
    batch = concatenate([make_batch(40, 1), make_batch(30, 2), make_batch(50, 3)])
    batch.times[:] = np.arange(len(batch))
    rows = make_rows(batch)
    part = join_rows(rows)
    assert rows.chunks == []
    assert as_objects(part.batch) == as_objects(batch)
    assert part.labels.tolist() == (batch.ids % 5 == 0).tolist()


def test_rows_go_to_their_positions_and_those_without_one_are_left_out() -> None:
    batch = make_batch(60)
    order = np.random.default_rng(0).permutation(60)
    rows = make_rows(batch.take(order))
    rows.positions = np.where(order < 50, order, -1)
    rows.labels, rows.times = (batch.ids[:50] % 5 == 0).astype(np.int8), batch.times[:50]
    part = join_rows(rows)
    assert as_objects(part.batch) == as_objects(batch)[:50]
    assert part.labels.tolist() == (batch.ids[:50] % 5 == 0).tolist()


def test_some_rows_share_the_numbers() -> None:
    part = join_rows(make_rows(make_batch(20)))
    some = some_rows(part, slice(5, 9))
    assert np.shares_memory(some.batch.numbers, part.batch.numbers)
    assert some.batch.ids.tolist() == part.batch.ids[5:9].tolist()
