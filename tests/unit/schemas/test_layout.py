"""Decoding only the number columns that a model reads: the same records, accepted or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch, concatenate
from schemas.contracts import (
    AMOUNT,
    CONTEXT_NUMBERS,
    NUMBER_COLUMNS,
    NUMBER_INDEX,
    load_schema,
)
from schemas.framing import prefix
from schemas.layout import Layout, number_cells
from schemas.resolver import LocalSchemas
from schemas.scores.writer import encode_scores
from schemas.transactions.codec import (
    Decoded,
    TransactionDecoder,
    encode_transactions,
    encode_transactions_json,
)
from tests.fuzz.records import RecordMaker, make_resolver
from tests.support.factories import make_batch, make_transaction, make_transactions

LAYOUT = Layout(("V258", "C1", "D1", "id_02"))


def decode(values: list[bytes], layout: Layout | None = LAYOUT) -> Decoded:
    return TransactionDecoder(LocalSchemas()).decode(values, [None] * len(values), layout)


def column(batch: TransactionBatch, name: str) -> NDArray[np.float64]:
    (cell,) = number_cells(batch.layout, [NUMBER_INDEX[name]])
    return batch.numbers[:, cell]


def same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return bool(np.array_equal(a.view(np.uint64), b.view(np.uint64)))


def test_layout_keeps_its_columns_in_order_and_those_that_every_score_needs() -> None:
    assert LAYOUT.columns[:4] == ("V258", "C1", "D1", "id_02")
    assert set(LAYOUT.columns) == {"V258", "C1", "D1", "id_02", AMOUNT, *CONTEXT_NUMBERS}
    assert LAYOUT.width == len(LAYOUT.columns) + 1
    assert [LAYOUT.at(NUMBER_INDEX[name]) for name in LAYOUT.columns] == list(
        range(len(LAYOUT.columns))
    )
    with pytest.raises(KeyError, match="V1"):
        LAYOUT.at(NUMBER_INDEX["V1"])
    assert Layout(("V258", "C1", "D1", "id_02")) == LAYOUT != Layout(("C1",))
    assert Layout(NUMBER_COLUMNS).is_complete


def test_kept_columns_have_the_same_bits_and_everything_else_is_the_same() -> None:
    values = encode_transactions(make_batch(60, 4))
    whole, narrow = decode(values, None).batch, decode(values).batch
    assert narrow.layout == LAYOUT
    assert narrow.numbers.shape == (60, LAYOUT.width)
    for name in LAYOUT.columns:
        assert same(column(whole, name), column(narrow, name)), name
    for attribute in ("ids", "times", "event_times", "starts", "lengths", "text"):
        assert np.array_equal(getattr(whole, attribute), getattr(narrow, attribute)), attribute
    part = narrow.take(slice(10, 20))
    assert part.layout == LAYOUT
    assert same(column(part, "V258"), column(whole, "V258")[10:20])


def test_column_that_the_writer_lacks_is_missing() -> None:
    narrow = decode(encode_transactions(build_batch([make_transaction(1)]))).batch
    assert np.isnan(column(narrow, "V258")).all()
    assert column(narrow, AMOUNT).tolist() == [50.0]


def test_what_is_rejected_and_why_does_not_depend_on_the_layout() -> None:
    """An infinite value in a column that the model does not read is refused all the same."""
    maker = RecordMaker(11)
    rejected = 0
    for _ in range(4):
        mixed = maker.batch(300)
        avro = [i for i, v in enumerate(mixed.values) if v and not v.lstrip().startswith(b"{")]
        for rows in (avro, list(range(300))):
            values, headers = [mixed.values[i] for i in rows], [mixed.headers[i] for i in rows]
            whole = TransactionDecoder(make_resolver()).decode(values, headers)
            narrow = TransactionDecoder(make_resolver()).decode(values, headers, LAYOUT)
            assert narrow.rejections == whole.rejections
            assert np.array_equal(narrow.kept, whole.kept)
            for name in LAYOUT.columns:
                assert same(column(narrow.batch, name), column(whole.batch, name)), name
            rejected += len(whole.rejections)
    assert rejected > 100


def test_infinite_value_in_a_column_that_is_not_kept_is_rejected() -> None:
    rows = make_transactions(3)
    rows[1]["V17"] = float("inf")
    (found,) = decode(encode_transactions(build_batch(rows))).rejections
    assert (found.index, found.field) == (1, "V17")


def test_batch_with_json_keeps_every_column() -> None:
    batch = make_batch(4)
    values = [*encode_transactions(batch), *encode_transactions_json(batch)]
    decoded = decode(values)
    assert decoded.batch.layout is None
    assert decoded.batch.numbers.shape == (8, len(NUMBER_COLUMNS))


def test_batch_that_lacks_columns_is_not_taken_for_a_complete_one() -> None:
    narrow = decode(encode_transactions(make_batch(3))).batch
    for misuse in (
        lambda: narrow.row(0),
        lambda: concatenate([narrow, narrow]),
        lambda: encode_transactions(narrow),
        lambda: encode_transactions_json(narrow),
    ):
        with pytest.raises(ValueError, match="lacks columns"):
            misuse()
    assert len(concatenate([narrow, narrow], narrow.layout)) == 6
    with pytest.raises(ValueError, match="different columns"):
        concatenate([narrow, make_batch(3)], narrow.layout)


def test_context_of_a_score_is_the_same() -> None:
    values = encode_transactions(make_batch(20, 4))
    whole, narrow = decode(values, None).batch, decode(values).batch

    def encoded(batch: TransactionBatch) -> list[bytes]:
        n = len(batch)
        return encode_scores(
            prefix(b"12345678", None), batch, np.full(n, 0.9), np.ones(n, np.uint8),
            {r: [("C1", "1", 0.5)] for r in range(n)}, (0.5, 0.9), "v1", 0, "t",
            np.zeros(n, np.int32), np.zeros(n, np.int64),
        )  # fmt: skip

    assert encoded(narrow) == encoded(whole)


def test_context_numbers_are_those_of_the_contract() -> None:
    fields = load_schema("fraud_score")["fields"]
    context = next(f["type"][1] for f in fields if f["name"] == "context")
    assert set(CONTEXT_NUMBERS) == {f["name"] for f in context["fields"]} & set(NUMBER_COLUMNS)
    assert "card1" in json.dumps(CONTEXT_NUMBERS)
