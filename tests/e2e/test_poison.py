"""Every kind of bad record gets a dead letter, and the good records between them get scores."""

from __future__ import annotations

import struct
from pathlib import Path

import orjson

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.model.store.file_store import FileStore
from tests.conftest import MakeTopics
from tests.support.factories import make_transaction, make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import fleet
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until


def _json(**fields: object) -> bytes:
    return orjson.dumps(make_transaction(1) | fields)


def poison() -> dict[str, tuple[bytes | None, str]]:
    """Name → (value, stage) of each kind of bad record."""
    good = encode_transactions(build_batch([make_transaction(1, amount=77.25)]))[0]
    infinite = good.replace(struct.pack("<d", 77.25), struct.pack("<d", float("inf")))
    nan = good.replace(struct.pack("<d", 77.25), struct.pack("<d", float("nan")))
    no_amount = orjson.dumps({"TransactionID": 1, "TransactionDT": 86400})
    no_id = orjson.dumps({"TransactionDT": 86400, "TransactionAmt": 5.0})
    return {
        "truncated Avro": (good[:-20], "decode"),
        "Avro with a tail": (good + b"\x00", "decode"),
        "unknown schema id": (b"\x00\x00\x00\x10\x01" + good[10:], "schema"),
        "unknown fingerprint": (b"\xc3\x01" + bytes(8) + good[10:], "schema"),
        "wrong type": (_json(TransactionAmt="12.50"), "validate"),
        "boolean for a number": (_json(card1=True), "validate"),
        "infinite amount in Avro": (infinite, "validate"),
        "NaN amount in Avro": (nan, "validate"),
        "infinite amount in JSON": (
            b'{"TransactionID":1,"TransactionDT":1,"TransactionAmt":Infinity}',
            "validate",
        ),
        "tombstone": (None, "framing"),
        "empty value": (b"", "framing"),
        "JSON array": (b"[1, 2]", "decode"),
        "JSON string": (b'"transaction"', "decode"),
        "broken JSON": (b'{"TransactionID": 1', "decode"),
        "two megabytes": (b"{" + b" " * 2_000_000 + b"}", "framing"),
        "no amount": (no_amount, "validate"),
        "no id": (no_id, "validate"),
        "noise": (b"\x93\x07 anything", "framing"),
    }


def test_every_kind_of_bad_record_is_dead_lettered_and_its_neighbours_are_scored(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(1)
    publish(FileStore(tmp_path / "store"))
    good = encode_transactions(build_batch(make_transactions(100)))
    bad = poison()
    values: list[bytes | None] = []
    for i, (value, _) in enumerate(bad.values()):
        values += [good[i], value]
    values += good[len(bad) :]
    produce(kafka.settings, names.input_topic, values, 1, headers=[("origin", b"test")])
    with fleet(kafka.settings, names, group_id, tmp_path) as scorers:
        scorers.start().wait_ready()
        wait_until(
            lambda: len(read_all(kafka.settings, names.dlq_topic)) >= len(bad)
            and len(read_all(kafka.settings, names.output_topic)) >= 100,
            120,
            what="every outcome",
        )  # fmt: skip
    dead_letters = read_all(kafka.settings, names.dlq_topic)
    scores = read_all(kafka.settings, names.output_topic)
    assert [decode_record("fraud_score", s.value)["transaction_id"] for s in scores] == list(
        range(1, 101)
    )
    start = "__connect.errors."
    for (name, (value, stage)), dead_letter in zip(bad.items(), dead_letters, strict=True):
        assert dead_letter.value == value, name
        assert dead_letter.key is not None, name
        assert dead_letter.headers[f"{start}stage"] == stage.encode(), (
            name,
            dead_letter.headers,
        )
        assert dead_letter.headers[f"{start}topic"] == names.input_topic.encode()
        assert dead_letter.headers[f"{start}partition"] == b"0"
        assert values[int(dead_letter.headers[f"{start}offset"] or b"")] == value, name
        assert dead_letter.headers[f"{start}exception.message"], name
        assert dead_letter.headers["origin"] == b"test"
