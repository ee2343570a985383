"""The prefix reader returns the same values as fastavro."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.feed.prefix import PrefixReader, read_stamp
from schemas.contracts import AvroSchema, load_schema
from schemas.records import decode_record
from schemas.resolver import LocalSchemas, UnknownSchema
from tests.support.dashboard_kit import encode_score, make_score

INT64 = st.integers(-(2**63), 2**63 - 1)


class Registry:
    """A registry with one schema, under id 5."""

    def __init__(self, schema: AvroSchema) -> None:
        self._schema = schema
        self.lookups = 0

    def by_id(self, schema_id: int) -> AvroSchema:
        self.lookups += 1
        if schema_id != 5:
            raise UnknownSchema(f"schema id {schema_id}")
        return self._schema

    def by_guid(self, guid: bytes) -> AvroSchema:
        raise UnknownSchema(guid.hex())

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        raise UnknownSchema(fingerprint.hex())


@given(
    number=INT64,
    score=st.floats(0, 1),
    scored_at=INT64,
    event_time=st.none() | INT64,
    version=st.text(max_size=40),
    thresholds=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
)
def test_prefix_and_stamp_equal_the_full_decode(
    number: int,
    score: float,
    scored_at: int,
    event_time: int | None,
    version: str,
    thresholds: tuple[float, float],
) -> None:
    review, block = thresholds
    value = encode_score(
        make_score(score)
        | {
            "transaction_id": number,
            "scored_at": scored_at,
            "event_time": event_time,
            "model_version": version,
            "review_threshold": review,
            "block_threshold": block,
        }
    )
    full = decode_record("fraud_score", value)
    prefix = PrefixReader(LocalSchemas("fraud_score")).read(value)
    assert prefix is not None
    assert prefix[:3] == (full["score"], full["is_flagged"], full["decision"] == "BLOCK")
    assert read_stamp(value, prefix.end) == (
        full["review_threshold"],
        full["block_threshold"],
        full["model_version"],
        full["scored_at"],
        full["event_time"],
    )


def test_truncated_record_is_never_read_past_its_end() -> None:
    value = encode_score(make_score(0.1))
    reader = PrefixReader(LocalSchemas("fraud_score"))
    for end in range(len(value)):
        try:
            prefix = reader.read(value[:end])
        except (ValueError, UnknownSchema):
            continue
        assert prefix is not None
        assert prefix[:3] == (0.1, False, False)


@pytest.mark.parametrize("value", [b"", b"\x00", b"{}", b"\xc3\x01", b"\xff" * 40])
def test_bytes_that_are_not_a_score_are_rejected(value: bytes) -> None:
    with pytest.raises((ValueError, UnknownSchema)):
        PrefixReader(LocalSchemas("fraud_score")).read(value)


def test_confluent_framing_looks_up_each_schema_once() -> None:
    registry = Registry(load_schema("fraud_score"))
    reader = PrefixReader(registry)
    for score in (0.1, 0.9):
        prefix = reader.read(encode_score(make_score(score), schema_id=5))
        assert prefix is not None
        assert prefix[:2] == (score, score > 0.5)
    assert registry.lookups == 1
    with pytest.raises(UnknownSchema):
        reader.read(encode_score(make_score(), schema_id=6))


def test_schema_that_starts_differently_needs_the_full_decode() -> None:
    fields: list[dict[str, Any]] = load_schema("fraud_score")["fields"]
    reordered = {**load_schema("fraud_score"), "fields": [fields[1], fields[0], *fields[2:]]}
    out = io.BytesIO(b"\x00\x00\x00\x00\x05")
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(reordered), make_score(0.9))
    registry = Registry(reordered)
    assert PrefixReader(registry).read(out.getvalue()) is None
    assert decode_record("fraud_score", out.getvalue(), registry)["score"] == 0.9
