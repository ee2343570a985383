"""Records that are no transactions, named by what they look like, with the way out."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import fastavro
import pytest

from schemas.rejections import Rejection, Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from tests.support.factories import make_transaction
from tests.support.wire import FixedResolver, confluent
from tests.unit.schemas.test_avro_evolution import writer

ROW = make_transaction()
TEXT = json.dumps(ROW)
CHANGE = {"before": None, "after": ROW, "source": {}, "op": "c"}


def rejection(value: bytes) -> Rejection:
    (found,) = TransactionDecoder(LocalSchemas()).decode([value], [None]).rejections
    return found


def container() -> bytes:
    out = io.BytesIO()
    schema = {"type": "record", "name": "T", "fields": [{"name": "a", "type": "long"}]}
    fastavro.writer(out, fastavro.parse_schema(schema), [{"a": 1}])
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "stage", "hint"),
    [
        (gzip.compress(TEXT.encode(), mtime=0), Stage.FRAMING, "compression.type=gzip"),
        (b"(\xb5\x2f\xfd" + bytes(9), Stage.FRAMING, "compression.type=zstd"),
        (container(), Stage.FRAMING, "an Avro container file"),
        (TEXT.encode("utf-16"), Stage.FRAMING, "write JSON in UTF-8"),
        (TEXT.encode("utf-16-be"), Stage.SCHEMA, "write JSON in UTF-8"),
        (TEXT.encode("utf-16-le"), Stage.DECODE, "write JSON in UTF-8"),
        (TEXT.encode("utf-8-sig"), Stage.FRAMING, "byte order mark"),
        (b"\x08\x96\x01\x12\x07testing\x19" + bytes(8), Stage.FRAMING, "may be Protobuf"),
    ],
)
def test_bytes_are_named(value: bytes, stage: Stage, hint: str) -> None:
    found = rejection(value)
    assert found.stage is stage
    assert hint in found.reason


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (CHANGE, "Debezium change event: unwrap with the transform ExtractNewRecordState"),
        ({"schema": {}, "payload": CHANGE}, "ExtractNewRecordState, and set value.converter"),
        ({"schema": {}, "payload": ROW}, "value.converter.schemas.enable=false"),
        ({"schema": {}, "payload": None}, "value.converter.schemas.enable=false"),
        ({"data": ROW}, "the transaction is inside 'data'"),
        ({"id": 5, "value": ROW, "TransactionAmt": "x"}, "the transaction is inside 'value'"),
        ({"specversion": "1.0", "data": ROW}, "CloudEvent"),
    ],
)
def test_envelopes_are_named(value: dict[str, Any], hint: str) -> None:
    assert hint in rejection(json.dumps(value).encode()).reason


@pytest.mark.parametrize(
    "value",
    [b"hello", b"\x01\x02\x03", b"\xff", b'{"a": 1}', b"{", TEXT.encode()[:-1], b"\x08\x01", b"[]"],
)
def test_nothing_is_guessed_about_other_records(value: bytes) -> None:
    assert "look" not in rejection(value).reason
    assert "Protobuf" not in rejection(value).reason


def test_transaction_with_a_fault_is_not_called_an_envelope() -> None:
    spoilt = json.dumps(ROW | {"data": ROW, "card1": "x"}).encode()
    assert rejection(spoilt).reason == "card1 must be a number, not a string"


def test_change_event_in_avro_is_named_by_its_schema() -> None:
    inner = {**writer(), "name": "Value"}
    fields = [
        {"name": "before", "type": ["null", inner]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "op", "type": "string"},
    ]
    envelope = {"type": "record", "name": "Envelope", "fields": fields}
    decoder = TransactionDecoder(FixedResolver({1: envelope}))
    (found,) = decoder.decode([confluent(1, b"\x00\x00\x02c")], [None]).rejections
    assert found.stage is Stage.SCHEMA
    assert "Debezium change event: unwrap" in found.reason
