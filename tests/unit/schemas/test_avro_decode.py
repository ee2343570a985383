"""Avro to columns: equal to the reference decoder, and robust against damaged bytes."""

from __future__ import annotations

import struct
import weakref
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import build_batch
from schemas.contracts import load_schema
from schemas.framing import MAX_RECORD_BYTES, Headers
from schemas.records import encode_record
from schemas.rejections import Rejection, Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import Decoded, TransactionDecoder, encode_transactions
from schemas.transactions.writers import MAX_WRITERS, Writers
from tests.support.factories import make_batch, make_transaction
from tests.support.wire import (
    FAST,
    FixedResolver,
    confluent,
    read_body,
    reference_batch,
    same,
    transactions,
    write_body,
)

SCHEMA: Final = load_schema("transaction")
# As a flat schema and, with one field that must be skipped by the reference decoder, a nested one.
NESTED: Final = {
    **SCHEMA,
    "fields": [
        *SCHEMA["fields"][:6],
        {"name": "lines", "type": {"type": "array", "items": "string"}},
        *SCHEMA["fields"][6:],
    ],
}
SMALL: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Small",
    "fields": [
        {"name": "TransactionID", "type": "long"},
        {"name": "TransactionDT", "type": "long"},
        {"name": "TransactionAmt", "type": "double"},
        {"name": "card1", "type": ["null", "double"]},
        {"name": "card4", "type": ["null", "string"]},
        {"name": "event_time", "type": ["null", "long"]},
        {"name": "sure", "type": "boolean"},
        {"name": "tag", "type": {"type": "fixed", "name": "Tag", "size": 3}},
        {"name": "part", "type": "float"},
    ],
}
SMALL_ROW: Final = make_transaction(5, card1=2.5, card4="visa", event_time=7) | {
    "sure": True,
    "tag": b"abc",
    "part": 0.5,
}
RESOLVER: Final = FixedResolver({1: SCHEMA, 2: NESTED, 3: SMALL})


def decode(values: list[bytes | None]) -> Decoded:
    return TransactionDecoder(RESOLVER).decode(values, [None] * len(values))


def fault(value: bytes | None) -> Rejection:
    """The rejection of a record between two valid ones."""
    good = encode_transactions(make_batch(2))
    decoded = decode([good[0], value, good[1]])
    assert decoded.kept.tolist() == [0, 2]
    assert same(decoded.batch, make_batch(2))
    (rejection,) = decoded.rejections
    assert rejection.index == 1
    return rejection


@FAST
@given(st.lists(transactions(), min_size=1, max_size=3))
def test_rows_equal_those_of_the_reference_decoder(rows: list[dict[str, Any]]) -> None:
    bodies = [write_body(SCHEMA, row) for row in rows]
    decoded = decode([confluent(1, body) for body in bodies])
    assert not decoded.rejections
    assert same(decoded.batch, reference_batch(bodies, SCHEMA))
    assert same(decoded.batch, build_batch(rows))


@FAST
@given(st.lists(transactions(), min_size=1, max_size=3))
def test_encoded_columns_equal_the_reference_encoders_bytes(rows: list[dict[str, Any]]) -> None:
    batch = build_batch(rows)
    cells = [batch.row(i) for i in range(len(batch))]
    assert encode_transactions(batch) == [encode_record("transaction", c) for c in cells]
    assert encode_transactions(batch, 7) == [encode_record("transaction", c, 7) for c in cells]


def test_rows_taken_from_a_batch_encode_to_the_same_bytes() -> None:
    batch, rows = make_batch(9), np.array([8, 0, 5])
    values = encode_transactions(batch)
    assert encode_transactions(batch.take(rows)) == [values[i] for i in rows]
    assert encode_transactions(batch.take(slice(0, 0))) == []


def test_whole_batch_equals_row_by_row_and_shuffled() -> None:
    batch = make_batch(40)
    values = encode_transactions(batch)
    order = np.random.default_rng(3).permutation(40)
    assert same(decode([values[i] for i in order]).batch, batch.take(order))
    for i in range(0, 40, 7):
        assert same(decode([values[i]]).batch, batch.take(slice(i, i + 1)))


def test_nested_writer_gives_the_same_rows() -> None:
    batch = make_batch(10)
    rows = [batch.row(i) | {"lines": ["a", "é"] * i} for i in range(10)]
    decoded = decode([confluent(2, write_body(NESTED, row)) for row in rows])
    assert not decoded.rejections
    assert same(decoded.batch, batch)


def mutations(body: bytes, seed: int, count: int) -> list[bytes]:
    """Bodies with one to four bytes flipped, inserted or removed."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        mutated = bytearray(body)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0, len(mutated)))
            how = rng.integers(0, 4)
            if how == 0:
                mutated[at] ^= 1 << int(rng.integers(0, 8))
            elif how == 1:
                mutated[at] = int(rng.integers(0, 256))
            elif how == 2:
                mutated.insert(at, int(rng.choice([0, 1, 2, 127, 128, 255])))
            else:
                del mutated[at]
        out.append(bytes(mutated))
    return out


def by_reference(body: bytes, schema: Any) -> dict[str, Any] | None:
    try:
        return read_body(body, schema)
    except Exception:
        return None


def check_neighbours(decoded: Decoded, n: int) -> set[int]:
    """Checks the valid records at odd indices; returns the even indices that were kept."""
    refused = {r.index for r in decoded.rejections}
    assert len(refused) == len(decoded.rejections)
    kept = decoded.kept.tolist()
    assert sorted([*kept, *refused]) == list(range(2 * n))
    odd = np.flatnonzero(decoded.kept % 2 == 1)
    assert decoded.kept[odd].tolist() == list(range(1, 2 * n, 2))
    assert same(decoded.batch.take(odd), make_batch(n, seed=9))
    return {i for i in kept if i % 2 == 0}


@pytest.mark.parametrize(("schema_id", "count"), [(1, 1500), (2, 300), (3, 1500)])
def test_mutated_records_never_raise_and_do_not_affect_others(schema_id: int, count: int) -> None:
    schema = RESOLVER.ids[schema_id]
    row = SMALL_ROW if schema_id == 3 else make_batch(1).row(0) | {"lines": ["one", "two"]}
    mutated = mutations(write_body(schema, row), schema_id, count)
    good = encode_transactions(make_batch(count, seed=9))
    values = [v for m, g in zip(mutated, good, strict=True) for v in (confluent(schema_id, m), g)]
    decoded = decode(list(values))
    kept = check_neighbours(decoded, count)
    assert 0 < len(kept) < count
    for at, index in enumerate(decoded.kept.tolist()):
        if index in kept and index % 10 == 0:  # the reference is slow
            again = by_reference(mutated[index // 2], schema)
            assert again is not None
            assert same(decoded.batch.take([at]), build_batch([again]))


@pytest.mark.parametrize("schema_id", [1, 2, 3])
def test_record_cut_anywhere_is_refused(schema_id: int) -> None:
    schema = RESOLVER.ids[schema_id]
    row = SMALL_ROW if schema_id == 3 else make_batch(1).row(0) | {"lines": ["one", "two"]}
    body = write_body(schema, row)
    good = encode_transactions(make_batch(len(body), seed=9))
    values = [v for i, g in enumerate(good) for v in (confluent(schema_id, body[:i]), g)]
    decoded = decode(list(values))
    assert check_neighbours(decoded, len(body)) == set()
    assert {r.stage for r in decoded.rejections} == {Stage.DECODE}


@pytest.mark.parametrize("schema_id", [1, 2, 3])
@pytest.mark.parametrize("more", [b"\x00", b"\xff", bytes(100)])
def test_bytes_after_the_last_field_are_refused(schema_id: int, more: bytes) -> None:
    row = SMALL_ROW | {"lines": []}
    rejection = fault(confluent(schema_id, write_body(RESOLVER.ids[schema_id], row) + more))
    assert rejection.stage is Stage.DECODE
    assert rejection.reason == "bytes are left over after the last field"


def small(**parts: bytes) -> bytes:
    """``SMALL_ROW`` with the bytes of some fields replaced."""
    fields = {
        "TransactionID": b"\x0a",
        "TransactionDT": b"\xd8\xca\x0a",
        "TransactionAmt": struct.pack("<d", 50.0),
        "card1": b"\x02" + struct.pack("<d", 2.5),
        "card4": b"\x02\x08visa",
        "event_time": b"\x02\x0e",
        "sure": b"\x01",
        "tag": b"abc",
        "part": struct.pack("<f", 0.5),
    }
    return confluent(3, b"".join((fields | parts).values()))


def test_record_broken_by_the_next_tests_is_valid() -> None:
    assert small() == confluent(3, write_body(SMALL, SMALL_ROW))


LONG_VARINT: Final = b"\xff" * 9
INF: Final = struct.pack("<d", float("inf"))
AFTER_AMOUNT: Final = ("card1", "card4", "event_time", "sure", "tag", "part")
NAN: Final = struct.pack("<d", float("nan"))


@pytest.mark.parametrize(
    ("parts", "stage", "field", "reason"),
    [
        ({"TransactionID": LONG_VARINT + b"\xff\x01"}, Stage.DECODE, "TransactionID", "64 bits"),
        ({"TransactionID": LONG_VARINT + b"\x02"}, Stage.DECODE, "TransactionID", "64 bits"),
        ({"card1": b"\x04"}, Stage.DECODE, "card1", "union index"),
        ({"card1": b"\x01"}, Stage.DECODE, "card1", "union index"),
        ({"card1": b"\x80\x80\x04"}, Stage.DECODE, "card1", "union index"),
        ({"card4": b"\x02\x01visa"}, Stage.DECODE, "card4", "length beyond the body"),
        ({"card4": b"\x02\x80\x80\x80\x80\x10"}, Stage.DECODE, "card4", "length beyond the body"),
        ({"card4": b"\x02" + LONG_VARINT + b"\x01"}, Stage.DECODE, "card4", "length beyond"),
        ({"card4": b"\x02\x08vis\xff"}, Stage.DECODE, "card4", "not valid UTF-8"),
        ({"card4": b"\x02\x06\xed\xa0\x80"}, Stage.DECODE, "card4", "not valid UTF-8"),
        ({"card4": b"\x02\x04\xc0\x80"}, Stage.DECODE, "card4", "not valid UTF-8"),
        ({"sure": b"\x02"}, Stage.DECODE, "sure", "neither 0 nor 1"),
        (
            dict.fromkeys(AFTER_AMOUNT, b"") | {"TransactionAmt": bytes(7)},
            Stage.DECODE,
            "TransactionAmt",
            "ends inside TransactionAmt",
        ),
        ({"part": b"\x00\x00\x00"}, Stage.DECODE, "part", "ends inside part"),
        ({"part": b"", "tag": b"ab"}, Stage.DECODE, "tag", "ends inside tag"),
        ({"part": b"", "tag": b"", "sure": b""}, Stage.DECODE, "sure", "ends inside sure"),
        ({"TransactionAmt": INF}, Stage.VALIDATE, "TransactionAmt", "is infinite"),
        ({"TransactionAmt": NAN}, Stage.VALIDATE, "TransactionAmt", "is missing"),
        ({"card1": b"\x02" + INF}, Stage.VALIDATE, "card1", "is infinite"),
    ],
)
def test_broken_field_is_named(
    parts: dict[str, bytes], stage: Stage, field: str, reason: str
) -> None:
    rejection = fault(small(**parts))
    assert (rejection.stage, rejection.field) == (stage, field)
    assert rejection.reason.startswith(field) or "ends inside" in rejection.reason
    assert reason in rejection.reason


def test_integers_of_ten_bytes_are_read() -> None:
    (low,) = decode([small(TransactionID=LONG_VARINT + b"\x01")]).batch.ids
    (high,) = decode([small(TransactionID=b"\xfe" + b"\xff" * 8 + b"\x01")]).batch.ids
    assert (low, high) == (-(2**63), 2**63 - 1)


def test_skipped_strings_may_contain_anything() -> None:
    schema = {**SMALL, "fields": [*SMALL["fields"], {"name": "note", "type": "string"}]}
    value = confluent(9, small()[5:] + b"\x04\xff\xff")
    decoded = TransactionDecoder(FixedResolver({9: schema})).decode([value], [None])
    assert not decoded.rejections


def test_nan_of_any_payload_is_missing() -> None:
    for bits in (0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001):
        decoded = decode([small(card1=b"\x02" + struct.pack("<Q", bits))])
        assert not decoded.rejections
        assert decoded.batch.row(0)["card1"] is None


@pytest.mark.parametrize(
    ("value", "stage", "reason"),
    [
        (None, Stage.FRAMING, "null (a tombstone)"),
        (b"", Stage.FRAMING, "the value is empty"),
        (b"\x00\x00", Stage.FRAMING, "Confluent framing needs 5 bytes"),
        (b"garbage", Stage.FRAMING, "no known framing"),
        (bytes(2_000_000), Stage.FRAMING, "the value has 2000000 bytes"),
        (b"{" + bytes(2_000_000), Stage.FRAMING, "the value has 2000001 bytes"),
        (confluent(99, b"x"), Stage.SCHEMA, "schema id 99"),
        (b"\xc3\x01" + bytes(8) + b"x", Stage.SCHEMA, "schema fingerprint 0000000000000000"),
        (confluent(1, b""), Stage.DECODE, "ends inside TransactionID"),
        (confluent(2, b""), Stage.DECODE, "ends inside TransactionID"),
        (b"[]", Stage.DECODE, "expected a JSON object"),
    ],
)
def test_record_that_is_not_a_transaction_is_refused(
    value: bytes | None, stage: Stage, reason: str
) -> None:
    rejection = fault(value)
    assert (rejection.stage, rejection.field is None) == (stage, "TransactionID" not in reason)
    assert reason in rejection.reason
    assert len(rejection.reason) <= 300


def test_every_kind_of_bad_record_at_once() -> None:
    good = encode_transactions(make_batch(3))
    values = [None, good[0], b"", confluent(99, b""), good[1], b"{}", small(card1=b"\x08"), good[2]]
    decoded = decode(values)
    assert decoded.kept.tolist() == [1, 4, 7]
    assert same(decoded.batch, make_batch(3))
    assert [(r.index, r.stage) for r in decoded.rejections] == [
        (0, Stage.FRAMING),
        (2, Stage.FRAMING),
        (3, Stage.SCHEMA),
        (5, Stage.VALIDATE),
        (6, Stage.DECODE),
    ]


def swapped(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every union reversed, as some producers write it."""
    reversed_unions = [
        {**f, "type": f["type"][::-1] if isinstance(f["type"], list) else f["type"]}
        for f in schema["fields"]
    ]
    return {**schema, "fields": reversed_unions}


def test_unions_with_null_last_give_the_same_rows() -> None:
    reversed_unions, batch = swapped(SCHEMA), make_batch(20)
    bodies = [write_body(reversed_unions, batch.row(i)) for i in range(20)]
    decoder = TransactionDecoder(FixedResolver({4: reversed_unions}))
    decoded = decoder.decode([confluent(4, body) for body in bodies], [None] * 20)
    assert not decoded.rejections
    assert same(decoded.batch, batch)


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 65, 127, 8191, 8192])
@pytest.mark.parametrize("char", ["x", "é"])
def test_strings_of_any_length_stand_among_short_ones(length: int, char: str) -> None:
    row = make_transaction(card4="visa", id_30=char * length, id_31="chrome", V5=1.5)
    decoded = decode([confluent(1, write_body(SCHEMA, row))] * 2)
    assert not decoded.rejections
    assert same(decoded.batch, build_batch([row, row]))


def test_fields_the_writer_lacks_are_missing_whatever_was_in_memory() -> None:
    full = make_batch(50)
    for _ in range(3):  # the memory of an earlier batch is likely to be reused
        assert same(decode(list(encode_transactions(full, 1))).batch, full)
        decoded = decode([small()] * 50)
        expected = {f["name"]: SMALL_ROW[f["name"]] for f in SMALL["fields"][:6]}
        assert same(decoded.batch, build_batch([expected] * 50))


def test_index_written_in_more_bytes_than_it_needs_is_read() -> None:
    row = make_transaction(card1=2.0)
    value = confluent(1, write_body(SCHEMA, row))
    at = value.index(b"\x02" + struct.pack("<d", 2.0))
    decoded = decode([value, value[:at] + b"\x82\x00" + value[at + 1 :], value])
    assert not decoded.rejections
    assert same(decoded.batch, build_batch([row] * 3))


@pytest.mark.parametrize("column", ["card1", "C1", "V1", "V200", "V339"])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf")])
def test_infinite_double_in_a_run_is_found_under_its_name(column: str, bad: float) -> None:
    cells: dict[str, Any] = {"V338": 1.0, column: bad}
    rejection = fault(confluent(1, write_body(SCHEMA, make_transaction(**cells))))
    assert (rejection.stage, rejection.field) == (Stage.VALIDATE, column)
    assert rejection.reason == f"{column} is infinite"


def test_framings_may_be_mixed_among_many_records() -> None:
    batch = make_batch(60)
    single, framed = encode_transactions(batch), encode_transactions(batch, 1)
    values: list[bytes | None] = [(single, framed)[i % 2][i] for i in range(60)]
    values[10], values[11], values[50] = b"\xc3\x01", b"\0\0\0\0\1", b"\0\0\0\0\x63body"
    values[20], values[21], values[59] = None, b"", single[59][:9]
    values[30] = small()
    decoded = decode(values)
    reasons = {r.index: r.reason for r in decoded.rejections}
    assert sorted(reasons) == [10, 11, 20, 21, 50, 59]
    assert reasons[50] == "schema id 99 is unknown"
    assert reasons[11] == "the body ends inside TransactionID"
    assert reasons[59] == "single-object encoding needs 10 bytes, there are 9"
    kept = [i for i in decoded.kept.tolist() if i != 30]
    assert same(decoded.batch.take(decoded.kept != 30), batch.take(np.array(kept)))
    assert decoded.batch.ids[decoded.kept == 30].tolist() == [5]


def test_resolver_is_called_once_for_records_of_one_writer() -> None:
    asked: list[int] = []

    class Counting(FixedResolver):
        def by_id(self, schema_id: int) -> object:
            asked.append(schema_id)
            return super().by_id(schema_id)

    decoder = TransactionDecoder(Counting({1: SCHEMA, 3: SMALL}))
    values = [*encode_transactions(make_batch(50), 1), *[small()] * 50]
    traced: Headers = [("traceparent", b"00-1-2-01")]
    assert len(decoder.decode(values, [None, traced] * 50).batch) == 100
    assert asked == [1, 3]


def test_header_that_names_the_schema_wins_over_the_first_bytes() -> None:
    guid, batch = bytes(range(16)), make_batch(40)
    framed, bare = encode_transactions(batch, 1), [v[5:] for v in encode_transactions(batch, 1)]
    named: Headers = [("a", b""), ("__value_schema_id", b"\1" + guid)]
    values = [bare[i] if i % 3 == 0 else framed[i] for i in range(40)]
    headers = [named if i % 3 == 0 else None for i in range(40)]
    decoder = TransactionDecoder(FixedResolver({1: SCHEMA}, {guid: SCHEMA}))
    decoded = decoder.decode([*values, framed[0]], [*headers, named])
    assert [r.index for r in decoded.rejections] == [40]  # its framing is read as its body
    assert same(decoded.batch, batch)


def test_no_records_give_an_empty_batch() -> None:
    decoded = decode([])
    assert (len(decoded.batch), decoded.kept.tolist(), decoded.rejections) == (0, [], [])


class Copy(dict[str, Any]):
    """A dictionary that allows weak references."""


def test_schema_is_resolved_once_and_not_kept() -> None:
    watched: list[weakref.ref[Copy]] = []

    class CopyingResolver(FixedResolver):
        """Returns a new copy of a schema each time."""

        def by_guid(self, guid: bytes) -> object:
            copy = Copy(self.guids[guid])
            watched.append(weakref.ref(copy))
            return copy

    guid = bytes(16)
    decoder = TransactionDecoder(CopyingResolver(guids={guid: SMALL}))
    for _ in range(4):
        headers = [("__value_schema_id", b"\1" + guid)]
        decoded = decoder.decode([small()[5:]] * 400, [headers] * 400)
        assert not decoded.rejections
        assert set(decoded.batch.ids.tolist()) == {5}
    assert len(watched) == 1
    assert watched[0]() is None


def test_plans_of_many_writers_are_bounded() -> None:
    many = dict.fromkeys(range(1, MAX_WRITERS + 300), SMALL)
    writers = Writers(FixedResolver(many))
    ways, unknown = writers.find(many)
    assert len(ways) == len(many)  # all that one batch needs, at once
    assert not unknown
    assert len(writers) == MAX_WRITERS


def test_local_schemas_have_no_ids() -> None:
    decoded = TransactionDecoder(LocalSchemas()).decode([confluent(1, b"")], [None])
    assert "no schema registry is configured" in decoded.rejections[0].reason


def test_value_that_is_too_long_is_rejected_without_a_copy_of_it() -> None:
    long = b"{" + b" " * (8 * MAX_RECORD_BYTES) + b"}"
    values: list[bytes | None] = [*encode_transactions(make_batch(20))]
    decoder = TransactionDecoder(LocalSchemas())
    decoded = decoder.decode([long, *values, long], [None] * 22)
    assert [r.index for r in decoded.rejections] == [0, 21]
    reason = f"the value has {len(long)} bytes, more than the {MAX_RECORD_BYTES} allowed"
    assert {(r.stage, r.reason) for r in decoded.rejections} == {(Stage.FRAMING, reason)}
    assert decoded.batch.ids.tolist() == list(range(1, 21))
    assert len(decoded.batch.text) < MAX_RECORD_BYTES
