"""Inputs of the topic as one side of a comparison, before any broker is asked."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.batch import TransactionBatch, concatenate
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from stream_scorer.kafka.spans import Span
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.state.inputs import InputRows
from tests.support.factories import make_batch
from tests.support.training.history_kit import by_partition, joined_rows, make_spec
from trainer.history.rows import history_layout
from trainer.skew.sides import Start, digest, side_of
from trainer.skew.topic_side import Collected, cut_spans, narrow

SPEC = make_spec()


def rows_of(batch: TransactionBatch, partition: int, first: int) -> InputRows:
    offsets = np.arange(first, first + len(batch))
    return InputRows(partition, offsets, batch, np.ones(len(batch), np.bool_), first + len(batch))


def test_collected_inputs_have_the_features_of_each_partition() -> None:
    batch = joined_rows(1200).batch
    cards = np.nan_to_num(batch.numbers[:, NUMBER_INDEX["card1"]]).astype(np.int64) % 12
    found = Collected(history_layout(SPEC))
    order, offset = [], dict.fromkeys(range(12), 100)
    for first in range(0, len(batch), 130):
        rows = np.arange(first, min(first + 130, len(batch)))
        for partition in range(12):
            mine = rows[cards[rows] == partition]
            if len(mine):
                found.add(rows_of(batch.take(mine), partition, offset[partition]))
                offset[partition] += len(mine)
                order += mine.tolist()
    side = found.side(SPEC, Start())
    expected = digest(by_partition(SPEC, batch, (77,)))[order]
    assert np.array_equal(side.digests, expected)
    assert side.batch.ids.tolist() == batch.ids[order].tolist()
    first_row = int(np.flatnonzero(side.partitions == 5)[0])
    assert side.place(first_row) == "partition 5 offset 100"
    assert side.value(first_row, "P_emaildomain") == batch.string(
        order[first_row], text_index("P_emaildomain")
    )
    assert found.bytes > 1200 * 8 * len(SPEC.columns)
    # A file with the same rows has the same features, whatever its blocks.
    ones, zeros = np.ones(1200, np.bool_), np.zeros(1200, np.int64)
    file = side_of("the file", batch, ones, zeros, SPEC, Start(), str)
    assert np.array_equal(file.digests[order], expected)


def text_index(column: str) -> int:
    from schemas.contracts import TEXT_INDEX

    return TEXT_INDEX[column]


def test_batches_with_every_column_and_with_some_become_alike() -> None:
    layout = Layout(["card1", "V258", "D1"])
    whole = make_batch(20)
    some = narrow(whole.take(slice(0, 12)), layout)
    again = narrow(some, layout)
    for batch in (some, again):
        assert batch.layout is layout
        assert batch.numbers.shape == (12, layout.width)
    joined = concatenate([again, narrow(whole.take(slice(12, None)), layout)], layout)
    for name in ("TransactionAmt", "card1", "V258", "D1"):
        cells = joined.numbers[:, layout.at(NUMBER_INDEX[name])]
        assert np.array_equal(cells, whole.numbers[:, NUMBER_INDEX[name]], equal_nan=True)
    for row in range(20):
        assert [joined.string(row, i) for i in range(31)] == [
            whole.string(row, i) for i in range(31)
        ]
    assert len(concatenate([], layout)) == 0


def test_topic_without_inputs_is_a_side_without_rows() -> None:
    side = Collected(history_layout(SPEC)).side(SPEC, Start())
    assert len(side.batch) == len(side.digests) == 0
    assert [len(part) for part in side.first_rows()] == [0, 0]


def test_spans_begin_where_the_histories_began() -> None:
    retained = {0: Span(5, 90), 1: Span(20, 80), 2: Span(3, 3)}
    assert cut_spans(retained, None, "in") == (retained, [])
    spans, problems = cut_spans(retained, [10, 7, 9], "in")
    assert spans == {0: Span(10, 90), 1: Span(20, 80), 2: Span(3, 3)}
    assert problems == [
        "partition 1: inputs 7 to 19 are no longer in in, so its histories lack them here"
    ]
    assert cut_spans(retained, [0, 0], "in") == (
        retained,
        ["in has 3 partitions, and the histories began with 2"],
    )


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (("removed", "in", 1, 5, 9), ("removed by retention while they were read", 4)),
        (("undecodable", "in", 1, 5, "x"),
         ("without a dead letter and not readable as a transaction", 1)),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_read_are_counted(
    fault: tuple[str, ...], problem: tuple[str, int]
) -> None:
    found = Collected(None)
    getattr(found, fault[0])(*fault[1:])
    assert dict(found.problems) == dict([problem])


def test_inputs_of_a_batch_that_cannot_be_unpacked_are_counted() -> None:
    found = Collected(None)
    found.unreadable("in", 0, PassedBatch(10, 17, None, 0))
    assert dict(found.problems) == {"in a batch that cannot be unpacked": 7}
