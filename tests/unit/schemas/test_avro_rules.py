"""One rule for every Avro decoder: what a body may hold, and what its writer's types mean."""

from __future__ import annotations

import io
import json
import random
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import body_check, body_faults
from schemas.avro import kernel
from schemas.contracts import MAX_TIME_SECONDS, load_schema
from schemas.json.codec import Decoded, decode_objects
from schemas.records import UndecodableRecord, decode_record, encode_record
from schemas.rejections import Stage
from schemas.scores.writer import varint
from schemas.transactions.codec import TransactionDecoder
from tests.fuzz.mutations import mutate
from tests.support.factories import make_score, make_transaction
from tests.support.wire import FAST, FixedResolver, confluent, same, write_body
from tests.unit.schemas.test_avro_evolution import writer, writers

NOTHING: dict[str, Any] = {"type": "record", "name": "Nothing", "fields": []}
"""A nested type without bytes: a schema with it is read by the reference decoder."""

ROW: dict[str, Any] = {"TransactionID": 5, "TransactionDT": 86_400, "TransactionAmt": 12.5}
LONG_VARINT = b"\x80" * 10 + b"\x00"
TOO_LARGE = b"\xff" * 9 + b"\x02"  # ten bytes, 65 bits


def decode(schema: Any, *bodies: bytes) -> Decoded:
    decoder = TransactionDecoder(FixedResolver({1: schema}))
    return decoder.decode([confluent(1, body) for body in bodies], [None] * len(bodies))


def by_reference(schema: Any) -> Any:
    nothing = {"name": "zz_nested", "type": NOTHING}
    return {**schema, "fields": [*schema["fields"], nothing]}


def test_kernels_have_the_same_codes_and_bound() -> None:
    names = [name for name in vars(body_faults) if name.isupper() and name != "MESSAGES"]
    for name in names:
        assert getattr(kernel, name) == getattr(body_faults, name)
        assert getattr(body_check, f"_{name}", getattr(body_faults, name)) == getattr(
            body_faults, name
        )
    assert len(names) == 11
    assert kernel.MAX_TIME_SECONDS == MAX_TIME_SECONDS


@FAST
@given(writers(nested=False), st.integers(0, 2**32))
def test_both_decoders_accept_the_same_bytes(
    written: tuple[dict[str, Any], bytes], seed: int
) -> None:
    schema, body = written
    rng = random.Random(seed)
    bodies = [body, *(mutate(rng, body) for _ in range(60))]
    compiled, reference = decode(schema, *bodies), decode(by_reference(schema), *bodies)
    assert compiled.kept.tolist() == reference.kept.tolist()
    assert 0 in compiled.kept
    assert same(compiled.batch, reference.batch)


@pytest.mark.parametrize("wrap", [dict, by_reference])
@pytest.mark.parametrize(
    ("types", "bytes_of_field", "reason"),
    [
        ({"card1": ["null", "double"]}, b"\x01", "card1 has a union index"),
        ({"card1": ["null", "double"]}, LONG_VARINT, "card1 has an integer of more than 64 bits"),
        ({"x": "long"}, LONG_VARINT, "x has an integer of more than 64 bits"),
        ({"x": "long"}, TOO_LARGE, "x has an integer of more than 64 bits"),
        ({"x": "string"}, b"\x01", "x has a length beyond the body"),
        ({"x": "string"}, LONG_VARINT, "x has an integer of more than 64 bits"),
        ({"x": "boolean"}, b"\x07", "x has a boolean"),
        ({"x": {"type": "enum", "name": "E", "symbols": ["A"]}}, b"\x02", "x has an enum index"),
        ({"x": {"type": "enum", "name": "E", "symbols": ["A"]}}, b"\x01", "x has an enum index"),
        ({"card4": ["string", "long"]}, b"\x02\x02", "card4 has a type that cannot be read"),
        ({"card4": "string"}, b"\x02\xff", "card4 is not valid UTF-8"),
    ],
)
def test_broken_field_has_the_same_reason_from_both_decoders(
    wrap: Any, types: dict[str, Any], bytes_of_field: bytes, reason: str
) -> None:
    good = write_body(writer(), ROW)
    (rejection,) = decode(wrap(writer(**types)), good + bytes_of_field).rejections
    assert rejection.stage is Stage.DECODE
    assert reason in rejection.reason


@pytest.mark.parametrize("wrap", [dict, by_reference])
def test_text_in_a_field_that_is_skipped_need_not_be_utf8(wrap: Any) -> None:
    assert not decode(wrap(writer(x="string")), write_body(writer(), ROW) + b"\x02\xff").rejections


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (b"\x01", "union index"),
        (LONG_VARINT, "more than 64 bits"),
        (b"\x00\x00", "left over"),
    ],
)
def test_records_follow_the_same_rule(more: bytes, reason: str) -> None:
    schema = load_schema("fraud_score")
    last = {"name": "later", "type": ["null", "long"]}
    extended = {**schema, "fields": [*schema["fields"], last]}
    body = encode_record("fraud_score", make_score("t", 0, 1))[10:]
    resolver = FixedResolver({1: extended})
    assert decode_record("fraud_score", confluent(1, body + b"\x00"), resolver)
    with pytest.raises(UndecodableRecord, match=reason):
        decode_record("fraud_score", confluent(1, body + more), resolver)


@pytest.mark.parametrize("block", [b"\x06\x02\x04\x06\x00", b"\x05\x06\x02\x04\x06\x00"])
def test_blocks_of_an_array_may_give_their_size(block: bytes) -> None:
    schema = writer(x={"type": "array", "items": "long"})
    assert not decode(schema, write_body(writer(), ROW) + block).rejections


@pytest.mark.parametrize("count", [varint(1_000), varint(-1_000) + b"\x02", TOO_LARGE])
def test_array_that_claims_more_items_than_bytes_is_rejected(count: bytes) -> None:
    schema = writer(x={"type": "array", "items": "long"})
    (rejection,) = decode(schema, write_body(writer(), ROW) + count + b"\x02\x00").rejections
    assert rejection.stage is Stage.DECODE


# What the writer's types mean.


@pytest.mark.parametrize("is_nullable", [False, True])
def test_enum_is_read_as_its_symbol(is_nullable: bool) -> None:
    enum: Any = {"type": "enum", "name": "Product", "symbols": ["W", "C", "H"]}
    schema = writer(ProductCD=["null", enum] if is_nullable else enum)
    bodies = [write_body(schema, ROW | {"ProductCD": p}) for p in ("C", "H", "W")]
    if is_nullable:
        bodies.append(write_body(schema, ROW | {"ProductCD": None}))
    found = decode(schema, *bodies)
    assert not found.rejections
    values = [found.batch.row(i)["ProductCD"] for i in range(len(bodies))]
    assert values == ["C", "H", "W", None][: len(bodies)]


@pytest.mark.parametrize("is_fixed", [False, True])
@pytest.mark.parametrize("text", ["0.10", "-12345678901234567.89", "4.35", "0.00", "1.15", "2.675"])
def test_decimal_amount_is_read_as_the_nearest_double(text: str, is_fixed: bool) -> None:
    base: Any = {"type": "fixed", "name": "Money", "size": 12} if is_fixed else {"type": "bytes"}
    decimal = {**base, "logicalType": "decimal", "precision": 24, "scale": 3}
    schema = writer(TransactionAmt=["null", decimal])
    unscaled = int(Decimal(text) * 1000).to_bytes(12, "big", signed=True)
    body = _body(schema, ROW | {"TransactionAmt": unscaled})
    found = decode(schema, body)
    assert not found.rejections
    assert found.batch.row(0)["TransactionAmt"] == float(Decimal(text)) == float(text)


def test_decimal_amount_that_is_null_is_missing() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    schema = writer(TransactionAmt=["null", decimal])
    (rejection,) = decode(schema, _body(schema, ROW | {"TransactionAmt": None})).rejections
    assert (rejection.stage, rejection.reason) == (Stage.VALIDATE, "TransactionAmt is missing")


def test_decimal_beyond_a_double_is_rejected() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 900, "scale": 0}
    schema = writer(TransactionAmt=decimal)
    body = _body(schema, ROW | {"TransactionAmt": b"\x7f" * 400})
    (rejection,) = decode(schema, body).rejections
    assert rejection.reason == "TransactionAmt is infinite"


def _body(schema: Any, row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    plain = fastavro.parse_schema(_without_decimals(schema))
    fastavro.schemaless_writer(out, plain, row)
    return out.getvalue()


def _without_decimals(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_decimals(s) for s in schema]
    if isinstance(schema, dict):
        return {k: _without_decimals(v) for k, v in schema.items() if k != "logicalType"}
    return schema


LOGICAL = ["timestamp-millis", "timestamp-micros", "local-timestamp-millis", "time-millis"]


@pytest.mark.parametrize("logical", LOGICAL)
@pytest.mark.parametrize("wrap", [dict, lambda t: ["null", t]])
def test_time_that_has_a_logical_type_is_refused_by_schema(logical: str, wrap: Any) -> None:
    schema = writer(TransactionDT=wrap({"type": "long", "logicalType": logical}))
    (rejection,) = decode(schema, b"").rejections
    assert rejection.stage is Stage.SCHEMA
    assert f"TransactionDT has the logical type {logical}" in rejection.reason
    assert "event_time" in rejection.reason


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ({"D1": {"type": "int", "logicalType": "date"}}, "D1 has the logical type date"),
        (
            {"event_time": {"type": "long", "logicalType": "timestamp-micros"}},
            "event_time has the logical type timestamp-micros; write timestamp-millis",
        ),
        (
            {"TransactionDT": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}},
            "TransactionDT has the logical type io.debezium.time.MicroTimestamp",
        ),
        (
            {"TransactionDT": {"type": "bytes", "logicalType": "decimal", "precision": 9}},
            "TransactionDT cannot be read from decimal",
        ),
        (
            {
                "TransactionAmt": {
                    "type": "bytes",
                    "logicalType": "decimal",
                    "precision": 9,
                    "scale": 10**9,
                }
            },
            "TransactionAmt is a decimal whose scale is not one whole number",
        ),
    ],
)
def test_column_whose_logical_type_is_not_ours_is_refused_by_schema(
    types: dict[str, Any], reason: str
) -> None:
    (rejection,) = decode(writer(**types), b"").rejections
    assert rejection.stage is Stage.SCHEMA
    assert reason in rejection.reason


def test_event_time_in_milliseconds_is_read() -> None:
    schema = writer(event_time={"type": "long", "logicalType": "timestamp-millis"})
    found = decode(schema, write_body(schema, ROW | {"event_time": 1_512_173_640_456}))
    assert found.batch.row(0)["event_time"] == 1_512_173_640_456


@pytest.mark.parametrize("seconds", [-1, MAX_TIME_SECONDS + 1, 1_796_000_000_000, -(2**63)])
def test_implausible_time_is_rejected_alike_by_every_decoder(seconds: int) -> None:
    row = make_transaction(TransactionDT=seconds)
    flat, text = write_body(load_schema("transaction"), row), _json(row)
    resolver = FixedResolver({1: load_schema("transaction"), 2: by_reference(writer())})
    values = [
        confluent(1, flat),
        confluent(2, write_body(writer(), ROW | {"TransactionDT": seconds})),
        text,
        text[:-1] + b', "x": "\\u00e9\\n"}',  # for the full parser
    ]
    found = TransactionDecoder(resolver).decode(values, [None] * 4).rejections
    found += decode_objects([row], strict=True).rejections
    assert len(found) == 5
    assert {(r.stage, r.field, r.reason) for r in found} == {
        (Stage.VALIDATE, "TransactionDT", found[0].reason)
    }
    assert str(seconds) in found[0].reason
    assert "(100 years)" in found[0].reason


@pytest.mark.parametrize("seconds", [0, MAX_TIME_SECONDS])
def test_time_at_the_bound_is_plausible(seconds: int) -> None:
    row = make_transaction(TransactionDT=seconds)
    values = [confluent(1, write_body(load_schema("transaction"), row)), _json(row)]
    decoder = TransactionDecoder(FixedResolver({1: load_schema("transaction")}))
    found = decoder.decode(values, [None] * 2)
    assert found.batch.times.tolist() == [seconds] * 2


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode()
