"""Bytes that never change: old records stay readable, and other readers keep working."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from schemas.contracts import known_schemas, load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.records import decode_record, encode_record
from schemas.resolver import LocalSchemas
from schemas.scores.writer import encode_scores
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from tests.support.wire import FixedResolver, same

CONTRACTS = ["transaction", "fraud_score", "fraud_label", "audit_event"]
FOLDER = Path(__file__).parents[2] / "golden"


def golden(contract: str) -> tuple[dict[str, Any], bytes, bytes]:
    """A record, its schema's fingerprint, its Avro body."""
    kept = json.loads((FOLDER / f"{contract}.json").read_text(encoding="utf-8"))
    return kept["record"], bytes.fromhex(kept["fingerprint"]), bytes.fromhex("".join(kept["body"]))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_schema_has_not_changed_unnoticed(contract: str) -> None:
    # When one must change: keep the old version in schemas/history, and golden bytes of both.
    assert schema_fingerprint(load_schema(contract)) == golden(contract)[1]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_record_has_its_bytes_in_both_framings(contract: str) -> None:
    record, mark, body = golden(contract)
    assert encode_record(contract, record) == b"\xc3\x01" + mark + body
    assert encode_record(contract, record, 258) == b"\x00\x00\x00\x01\x02" + body


@pytest.mark.parametrize("contract", CONTRACTS)
def test_bytes_give_their_record_in_both_framings(contract: str) -> None:
    record, mark, body = golden(contract)
    resolver = FixedResolver({258: load_schema(contract)})
    for value in (b"\xc3\x01" + mark + body, b"\x00\x00\x00\x01\x02" + body):
        found = decode_record(contract, value, resolver)
        assert {k: v for k, v in found.items() if v is not None} == record


def test_columns_have_the_transactions_bytes() -> None:
    record, mark, body = golden("transaction")
    batch = build_batch([record])
    assert encode_transactions(batch) == [b"\xc3\x01" + mark + body]
    assert encode_transactions(batch, 258) == [b"\x00\x00\x00\x01\x02" + body]


def test_transactions_bytes_give_the_columns() -> None:
    record, mark, body = golden("transaction")
    decoded = TransactionDecoder(LocalSchemas()).decode([b"\xc3\x01" + mark + body], [None])
    assert not decoded.rejections
    assert same(decoded.batch, build_batch([record]))


@pytest.mark.parametrize("schema_id", [None, 258])
def test_batch_of_scores_has_the_scores_bytes(schema_id: int | None) -> None:
    record, mark, body = golden("fraud_score")
    columns = {**record["context"], "TransactionID": record["transaction_id"]}
    source = record["source"]
    head = prefix(mark, schema_id)
    (value,) = encode_scores(
        head,
        build_batch([{**columns, "event_time": record["event_time"]}]),
        np.array([record["score"]]),
        np.array([2], np.uint8),
        {0: [(r["feature"], r["value"], r["contribution"]) for r in record["reasons"]]},
        (record["review_threshold"], record["block_threshold"]),
        record["model_version"],
        record["scored_at"],
        source["topic"],
        np.array([source["partition"]], np.int32),
        np.array([source["offset"]]),
    )
    assert value == head + body


def test_score_of_the_earlier_schema_is_read_in_both_framings() -> None:
    record, mark, body = golden("fraud_score-1")
    old = known_schemas("fraud_score")[mark]
    assert "is_sampled" not in record
    resolver = FixedResolver({7: old})
    for value in (b"\xc3\x01" + mark + body, b"\x00\x00\x00\x00\x07" + body):
        found = decode_record("fraud_score", value, resolver)
        assert found.pop("is_sampled") is False
        assert found == record


def test_the_label_by_hand() -> None:
    """Each byte of the smallest contract, by the Avro specification, "Binary Encoding"."""
    by_hand = [
        "f0cfec02",  # 2987000: zig-zag 5974000
        "02",  # LEGITIMATE, the second symbol: 1
        "02",  # CHARGEBACK: 1
        "087a6fc3ab",  # four bytes of UTF-8: zoë
        "90ec94c98258",  # 1512173640456 ms
        "0200",  # a string, empty
        "02000000000000ee3f",  # a double: 0.9375
        "02000000000000e03f",  # 0.5
        "02cdccccccccccec3f",  # 0.9
        "02047633",  # v3
        "0218" + b"transactions".hex() + "168080808020",  # a record: partition 11, 2**32
        "0208303a3137",  # 0:17
    ]
    assert bytes.fromhex("".join(by_hand)) == golden("fraud_label")[2]
