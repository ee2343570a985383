"""All rows in one batch, in the order of time."""

from __future__ import annotations

import itertools

import numpy as np

from schemas.batch import TransactionBatch, concatenate
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
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


def test_all_rows_are_in_the_order_of_time_with_those_without_a_label() -> None:
    batch = make_batch(60)
    order = np.random.default_rng(0).permutation(60)
    rows = make_rows(batch.take(order))
    assert rows.distinct == 60
    known = order % 3 > 0
    repeats = order >= 50
    rows.seen = np.where(repeats, -1, order)
    rows.positions = np.full(60, -1)
    rows.positions[known & ~repeats] = np.argsort(np.argsort(order[known & ~repeats]))
    rows.labels = np.zeros(int((known & ~repeats).sum()), np.int8)
    everything, labelled = rows.all_rows(None)
    assert rows.distinct == 50
    assert as_objects(everything) == as_objects(batch)[:50]
    assert labelled is not None
    assert labelled.tolist() == [i for i in range(50) if i % 3]
    assert as_objects(everything.take(labelled)) == as_objects(join_rows(rows).batch)


def test_all_rows_can_have_a_few_columns() -> None:
    batch = make_batch(30)
    layout = Layout(["card1", "V258"])
    some, labelled = make_rows(batch).all_rows(layout)
    assert labelled is None
    assert some.layout is layout
    for name in ("TransactionAmt", "card1", "V258"):
        cells = some.numbers[:, layout.at(NUMBER_INDEX[name])]
        assert np.array_equal(cells, batch.numbers[:, NUMBER_INDEX[name]], equal_nan=True)
    assert np.isnan(some.numbers[:, -1]).all()
    assert [some.string(i, 0) for i in range(30)] == [batch.string(i, 0) for i in range(30)]


def test_some_rows_share_the_numbers() -> None:
    part = join_rows(make_rows(make_batch(20)))
    some = some_rows(part, slice(5, 9))
    assert np.shares_memory(some.batch.numbers, part.batch.numbers)
    assert some.batch.ids.tolist() == part.batch.ids[5:9].tolist()
