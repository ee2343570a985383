"""The contracts themselves: columns, canonical forms, fingerprints."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from schemas.contracts import (
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    TRANSACTION_COLUMNS,
    canonical_form,
    column_name,
    known_schemas,
    load_schema,
    schema_fingerprint,
)

# From the Avro project's own test data (share/test/data/schema-tests.txt): schema, CRC-64-AVRO of
# its canonical form as a signed 64-bit integer.
PUBLISHED = [
    ('"null"', 7195948357588979594),
    ('{"type":"null"}', 7195948357588979594),
    ('"boolean"', -6970731678124411036),
    ('"int"', 8247732601305521295),
    ('"long"', -3434872931120570953),
    ('"float"', 5583340709985441680),
    ('"double"', -8181574048448539266),
    ('"bytes"', 5746618253357095269),
    ('"string"', -8142146995180207161),
    ('[ "int"  ]', -5232228896498058493),
    ('[ "int" , {"type":"boolean"} ]', 5392556393470105090),
    ('{"fields":[], "type":"record", "name":"foo"}', -4824392279771201922),
    ('{"fields":[], "type":"record", "name":"foo", "namespace":"x.y"}', 5916914534497305771),
    ('{"type":"enum", "name":"foo", "symbols":["A1"]}', -6342190197741309591),
    ('{"name":"foo","type":"fixed","size":15}', 1756455273707447556),
    ('{ "items":{"type":"null"}, "type":"array"}', -589620603366471059),
    ('{ "values":"string", "type":"map"}', -8732877298790414990),
]


def crc_64_avro(data: bytes) -> int:
    """The algorithm of the Avro specification ("Schema Fingerprints")."""
    empty = 0xC15D213AA4D7A795
    table = []
    for i in range(256):
        word = i
        for _ in range(8):
            word = (word >> 1) ^ (empty & -(word & 1))
        table.append(word & 0xFFFFFFFFFFFFFFFF)
    word = empty
    for byte in data:
        word = (word >> 8) ^ table[(word ^ byte) & 0xFF]
    return word


@pytest.mark.parametrize(("schema", "fingerprint"), PUBLISHED)
def test_fingerprints_are_those_the_avro_project_publishes(schema: str, fingerprint: int) -> None:
    assert schema_fingerprint(json.loads(schema)) == struct.pack("<q", fingerprint)


@pytest.mark.parametrize("contract", ["transaction", "fraud_score", "fraud_label", "audit_event"])
def test_fingerprint_is_the_specifications_algorithm_over_the_canonical_form(
    contract: str,
) -> None:
    schema = load_schema(contract)
    expected = crc_64_avro(canonical_form(schema).encode())
    assert schema_fingerprint(schema) == expected.to_bytes(8, "little")


@pytest.mark.parametrize("contract", ["transaction", "fraud_score", "fraud_label", "audit_event"])
def test_canonical_form_has_full_names_and_no_documentation(contract: str) -> None:
    form = canonical_form(load_schema(contract))
    assert form.startswith('{"name":"stream_scorer.')
    for left_out in ('"doc"', '"default"', '"logicalType"', '"namespace"', " "):
        assert left_out not in form


@pytest.mark.parametrize("contract", ["transaction", "fraud_score", "fraud_label", "audit_event"])
def test_own_schema_is_known_by_its_fingerprint(contract: str) -> None:
    schema = load_schema(contract)
    assert known_schemas(contract)[schema_fingerprint(schema)] == schema


def test_every_column_is_a_number_a_string_or_one_of_three_integers() -> None:
    assert (len(NUMBER_COLUMNS), len(TEXT_COLUMNS)) == (400, 31)
    integers = {"TransactionID", "TransactionDT", "event_time"}
    assert set(TRANSACTION_COLUMNS) == {*NUMBER_COLUMNS, *TEXT_COLUMNS, *integers}
    assert len(TRANSACTION_COLUMNS) == 434
    assert "isFraud" not in TRANSACTION_COLUMNS


def test_all_but_three_columns_are_nullable_with_default_null() -> None:
    required = load_schema("transaction")["fields"][:3]
    assert [f["name"] for f in required] == ["TransactionID", "TransactionDT", "TransactionAmt"]
    for column in load_schema("transaction")["fields"][3:]:
        assert column["type"][0] == "null"
        assert column["default"] is None


@pytest.mark.parametrize(
    ("written", "name"),
    [("id-01", "id_01"), ("id_01", "id_01"), ("card1", "card1"), ("P-x", "P-x"), ("id-", "id_")],
)
def test_column_name(written: str, name: str) -> None:
    assert column_name(written) == name


def test_old_versions_of_a_contract_are_known_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_schema("fraud_label")
    old = {**own, "fields": own["fields"][:5]}
    (tmp_path / "history").mkdir()
    for name in ("fraud_label-1.avsc", "fraud_score-1.avsc", "notes.txt"):
        text = json.dumps(old if name.startswith("fraud_label") else "string")
        (tmp_path / "history" / name).write_text(text)
    monkeypatch.setattr("schemas.contracts.files", lambda _: tmp_path)
    known = known_schemas.__wrapped__("fraud_label")
    assert known == {schema_fingerprint(own): own, schema_fingerprint(old): old}
