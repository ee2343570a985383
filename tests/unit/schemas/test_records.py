"""One record at a time, as dictionaries."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.contracts import load_schema
from schemas.records import UndecodableRecord, decode_record, encode_record
from tests.support.factories import make_transaction
from tests.support.wire import FixedResolver

LABEL: dict[str, Any] = {
    "transaction_id": 1,
    "label": "FRAUD",
    "origin": "ANALYST",
    "decided_by": "zoë",
    "decided_at": 1_512_173_640_456,
}
VALUE = encode_record("fraud_label", LABEL)


def present(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def test_record_comes_back_with_defaults_and_whole_milliseconds() -> None:
    found = decode_record("fraud_label", VALUE)
    assert present(found) == LABEL
    assert set(found) == {f["name"] for f in load_schema("fraud_label")["fields"]}
    assert type(found["decided_at"]) is int


def test_transaction_comes_back() -> None:
    row = make_transaction(event_time=5, card4="")
    assert present(decode_record("transaction", encode_record("transaction", row))) == row


@pytest.mark.parametrize(
    "change",
    [
        {"transaction_id": "x"},
        {"transaction_id": None},
        {"transaction_id": 2**63},
        {"label": "NO"},
        {"label": None},
        {"decided_by": None},
        {"decided_by": "\ud800"},
        {"note": 5},
        {"score": "x"},
        {"source": {}},
    ],
)
def test_record_that_does_not_fit_is_a_value_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the encoder's
        encode_record("fraud_label", LABEL | change)


def test_record_without_a_required_field_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="decided_at"):
        encode_record("fraud_label", {k: v for k, v in LABEL.items() if k != "decided_at"})


def test_record_cut_anywhere_is_undecodable_and_says_why() -> None:
    for end in range(len(VALUE)):
        with pytest.raises(UndecodableRecord) as error:
            decode_record("fraud_label", VALUE[:end])
        assert not str(error.value).endswith(": ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the value is empty"),
        (b"", "the value is empty"),
        (b"{}", "no known framing starts with the bytes 7b 7d"),
        (b"\x00\x00\x00\x01", "no known framing"),
        (b"\x00\x00\x00\x00\x01x", "no schema registry is configured"),
        (b"\xc3\x01" + bytes(8) + b"x", "schema fingerprint 0000000000000000 is unknown"),
        (VALUE + b"\x00", "bytes are left over after the last field"),
    ],
)
def test_value_that_is_not_a_record_is_undecodable(value: bytes | None, reason: str) -> None:
    with pytest.raises(UndecodableRecord, match=reason):
        decode_record("fraud_label", value)


def test_record_of_another_contract_is_undecodable() -> None:
    with pytest.raises(UndecodableRecord, match="is unknown"):
        decode_record("fraud_score", VALUE)
    framed = encode_record("fraud_label", LABEL, 3)
    with pytest.raises(UndecodableRecord, match="cannot be read with its schema"):
        decode_record("fraud_score", framed, FixedResolver({3: load_schema("fraud_label")}))


@pytest.mark.parametrize("schema", [17, {"type": "record"}, {"type": "nonsense"}])
def test_invalid_registered_schema_makes_a_record_undecodable(schema: Any) -> None:
    with pytest.raises(UndecodableRecord, match="not valid"):
        decode_record("fraud_label", b"\x00\x00\x00\x00\x03x", FixedResolver({3: schema}))


def test_known_fingerprints_need_no_resolver() -> None:
    # This resolver knows only the fingerprints of transactions.
    assert present(decode_record("fraud_label", VALUE, FixedResolver())) == LABEL


class Unreachable(Exception):
    pass


class BrokenResolver(FixedResolver):
    def by_id(self, schema_id: int) -> object:
        raise Unreachable(schema_id)


def test_registry_outage_does_not_reject_the_record() -> None:
    with pytest.raises(Unreachable):
        decode_record("fraud_label", encode_record("fraud_label", LABEL, 3), BrokenResolver())
