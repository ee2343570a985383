"""Labels from elsewhere: the last one stands over isFraud, and rows too young are left out."""

from __future__ import annotations

import datetime as dt
import json
import logging
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.contracts import load_schema
from schemas.errors import UnusableFileError
from schemas.framing import SCHEMA_ID_HEADER, Headers
from schemas.records import UndecodableRecord, encode_record
from stream_scorer.errors import UsageError
from stream_scorer.kafka.messages import Records
from stream_scorer.runtime.settings import StoreSettings
from tests.support.wire import FixedResolver
from trainer.commands.parser import build_parser
from trainer.commands.train_run import make_source
from trainer.data.ingest import TrainingRows, ingest
from trainer.data.label_file import read_label_file
from trainer.data.label_topic import DecodedLabels, decode_label, is_topic, read_label_topic
from trainer.data.labels import Labelling, Labels
from trainer.data.source import CsvSource
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings

DAY = 86_400
HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt\n"
LABEL = {
    "transaction_id": 2,
    "label": "FRAUD",
    "origin": "ANALYST",
    "decided_by": "ana",
    "decided_at": 1_790_000_000_000,
}


def nothing(_: int) -> None:
    pass


def label_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "labels"
    path.write_text(text)
    return str(path)


def transactions(tmp_path: Path, n: int = 10, *, has_labels: bool = True) -> str:
    """Transaction ``i`` on day ``i``; every third one is a fraud."""
    rows = "".join(f"{i},{f'{i % 3 == 0:d},' if has_labels else ''}{i * DAY},1\n" for i in range(n))
    path = tmp_path / "transactions.csv"
    path.write_text((HEADER if has_labels else HEADER.replace("isFraud,", "")) + rows)
    return str(path)


def read(path: str, labels: str | None, days: float | None = None) -> TrainingRows:
    return ingest(CsvSource(path, None, StoreSettings(), Labelling(labels, days)), nothing)


def labelled(rows: TrainingRows) -> dict[int, int]:
    part = rows.part(np.ones(len(rows), np.bool_))
    return dict(zip(part.batch.ids.tolist(), part.labels.tolist(), strict=True))


def values(labels: Labels) -> dict[int, int]:
    return dict(zip(labels.ids.tolist(), labels.values.tolist(), strict=True))


def test_labels_take_precedence_over_is_fraud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = label_file(
        tmp_path,
        "transaction_id,label,origin,amount\n"
        "1,FRAUD,chargeback,5\n0,LEGITIMATE,ANALYST,5\n2,0,,5\n4,UNSURE,ANALYST,5\n77,1,,5\n",
    )
    with caplog.at_level(logging.INFO):
        rows = read(transactions(tmp_path), source)
    assert labelled(rows) == {0: 0, 1: 1, 2: 0, 3: 1, 5: 0, 6: 1, 7: 0, 8: 0, 9: 1}
    facts = rows.facts["labels"]
    assert facts["source"] == source
    assert len(facts["sha256"]) == 64
    assert (facts["records"], facts["transactions"], facts["matched"]) == (5, 5, 4)
    assert (facts["unmatched"], facts["changed"], facts["unsure_left_out"]) == (1, 2, 1)
    assert facts["by_origin"] == {"ANALYST": 2, "CHARGEBACK": 1, "REVERSAL": 0, "UNKNOWN": 1}
    assert facts["without_label"] == {"isFraud": 6, "assumed_legitimate": 0}
    assert (
        "4 labels belong to rows (2 differ from isFraud, 1 rows left out as UNSURE)" in caplog.text
    )


def test_unlabelled_transactions_are_legitimate_once_they_are_old_enough(tmp_path: Path) -> None:
    source = label_file(tmp_path, "TransactionID,isFraud\n1,1\n8,1\n")
    rows = read(transactions(tmp_path, has_labels=False), source, 3.0)
    assert labelled(rows) == {0: 0, 1: 1, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    assert rows.facts["maturity"] == {"days": 3.0, "left_out": 3}
    assert rows.facts["labels"]["without_label"] == {"isFraud": 0, "assumed_legitimate": 8}


def test_without_is_fraud_the_maturity_must_be_given(tmp_path: Path) -> None:
    source = label_file(tmp_path, "TransactionID,isFraud\n1,1\n")
    with pytest.raises(UsageError, match=r"line 1: no column isFraud, so .* --maturity-days N"):
        read(transactions(tmp_path, has_labels=False), source)


def test_maturity_alone_leaves_out_young_rows(tmp_path: Path) -> None:
    rows = read(transactions(tmp_path), None, 2.5)
    assert list(labelled(rows)) == [0, 1, 2, 3, 4, 5, 6]
    assert "labels" not in rows.facts
    assert len(read(transactions(tmp_path), None, 0)) == 10


def test_maturity_that_leaves_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no row is left to train on: 10 of 10 rows .* 9\.0 days"):
        read(transactions(tmp_path), None, 9.5)


def test_labels_of_other_transactions_are_refused(tmp_path: Path) -> None:
    source = label_file(tmp_path, "transaction_id,label\n50,1\n40,0\n")
    with pytest.raises(
        UsageError, match=r"none of the labels of 2 transactions \(the first is 40\)"
    ):
        read(transactions(tmp_path), source)
    with pytest.raises(UsageError, match="labels of 0 transactions"):
        read(transactions(tmp_path), label_file(tmp_path, "transaction_id,label\n"))


def test_labels_that_leave_one_class_are_refused(tmp_path: Path) -> None:
    source = label_file(tmp_path, "transaction_id,label\n0,0\n3,0\n6,0\n9,0\n")
    with pytest.raises(UsageError, match=r"all 10 rows have isFraud = 0 with the labels of .+"):
        read(transactions(tmp_path), source)


def test_labels_that_are_all_unsure_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"{row},UNSURE\n" for row in range(10))
    with pytest.raises(UsageError, match=r"no row is left to train on: all 10 labels are UNSURE$"):
        read(transactions(tmp_path), label_file(tmp_path, "transaction_id,label\n" + lines))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("1,FRAUD,\n1,LEGITIMATE,\n", 0),
        ("1,FRAUD,2026-01-02\n1,LEGITIMATE,2026-01-01T23:59:59Z\n", 1),
        ("1,FRAUD,2026-01-02T00:00:00Z\n1,LEGITIMATE,2026-01-02T00:30:00+01:00\n", 1),
        ("1,FRAUD,1767312000000\n1,UNSURE,2026-01-01\n", 1),
        ("1,FRAUD,\n1,UNSURE,1970-01-01\n1,FRAUD,\n", -1),
        ("1,FRAUD,2026-01-02\n1,LEGITIMATE,2026-01-02\n", 0),
    ],
)
def test_the_last_decision_stands(tmp_path: Path, rows: str, expected: int) -> None:
    source = label_file(tmp_path, "transaction_id,label,decided_at\n" + rows)
    assert values(read_label_file(source, StoreSettings())) == {1: expected}


@pytest.mark.parametrize("word", ["FRAUD", " fraud ", "1", "1.0", "true"])
def test_a_label_may_be_written_in_several_ways(tmp_path: Path, word: str) -> None:
    source = label_file(tmp_path, f"transaction_id,label\n7,{word}\n")
    assert values(read_label_file(source, StoreSettings())) == {7: 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("transaction_id,label\n1,1\n2,MAYBE\n", "line 3, column label: 'MAYBE' is not FRAUD, LEG"),
        ("transaction_id,label\n1,1\n2,\n", "line 3, column label: no value"),
        ("transaction_id,label\n,1\n", "line 2, column transaction_id: no value"),
        ("transaction_id,label\nx,1\n", "line 2, column transaction_id: 'x' is not an integer"),
        ("transaction_id,label,origin\n1,1,BANK\n", "column origin: 'BANK' is not one of ANALYST"),
        ("transaction_id,label,decided_at\n1,1,soon\n", "column decided_at: 'soon' is not a time"),
        ("transaction_id,label,decided_at\n1,1,99999999999999999999\n", "is not a time"),
        ("transaction_id,fraud\n1,1\n", "line 1: no column label"),
        ("transaction_id,label,isFraud\n1,1,1\n", "line 1: column label occurs twice"),
        ("", "the file is empty"),
        ("<html>", "an HTML page"),
    ],
)  # fmt: skip
def test_a_faulty_label_file_is_refused_with_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    source = label_file(tmp_path, text)
    with pytest.raises(UnusableFileError) as error:
        read_label_file(source, StoreSettings())
    assert source in str(error.value)
    assert message in str(error.value)


def test_labels_may_be_parquet(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    when = [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (2, 1, 1)]
    columns: dict[str, Any] = {
        "TransactionID": [5, 5, 6],
        "isFraud": [1, 0, 0],
        "decided_at": pa.array(when, pa.timestamp("ms", "UTC")),
    }
    parquet.write_table(pa.table(columns), path)
    assert values(read_label_file(str(path), StoreSettings())) == {5: 1, 6: 0}
    parquet.write_table(pa.table(columns | {"isFraud": [True, False, True]}), path)
    assert values(read_label_file(str(path), StoreSettings())) == {5: 1, 6: 1}


def test_labels_may_be_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("labels-march.csv", "transaction_id,label\n5,1\n")
        made.writestr("readme.csv", "x\n1\n")
    assert values(read_label_file(str(path), StoreSettings())) == {5: 1}


GUID = uuid.UUID(int=7).bytes
RESOLVER = FixedResolver({3: load_schema("fraud_label")}, {GUID: load_schema("fraud_label")})
SINGLE_OBJECT = encode_record("fraud_label", LABEL)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (SINGLE_OBJECT, None),
        (encode_record("fraud_label", LABEL, 3), None),
        (SINGLE_OBJECT[10:], [(SCHEMA_ID_HEADER, b"\x01" + GUID)]),
        (json.dumps(LABEL).encode(), None),
        (SINGLE_OBJECT, [("trace", b"1")]),
    ],
)
def test_every_wire_format_is_decoded(value: bytes, headers: Headers) -> None:
    found = decode_label(value, headers, RESOLVER)
    assert {name: found[name] for name in LABEL} == LABEL


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, None, "the value is empty"),
        (b"", None, "the value is empty"),
        (b"hello", None, "no known framing starts with the bytes"),
        (b"\x00\x00\x00", None, "Confluent framing needs 5 bytes"),
        (encode_record("fraud_label", LABEL, 99), None, "99"),
        (SINGLE_OBJECT[:-3], None, ""),
        (SINGLE_OBJECT, [(SCHEMA_ID_HEADER, b"\x01")], "is not 0x01 and a 16-byte GUID"),
        (b"{", None, "not JSON"),
        (b"[" * 100_000, None, ""),
        (b"[1]", None, "not a JSON object"),
        (json.dumps(LABEL | {"label": "YES"}).encode(), None, "label is not one of FRAUD"),
        (json.dumps(LABEL | {"origin": "UNKNOWN"}).encode(), None, "origin is not one of ANALYST"),
        (json.dumps(LABEL | {"transaction_id": True}).encode(), None, "transaction_id is not a"),
        (json.dumps(LABEL | {"decided_at": 2**63}).encode(), None, "decided_at is not a whole"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_named(value: bytes | None, headers: Headers, reason: str) -> None:
    with pytest.raises(UndecodableRecord) as error:
        decode_label(value, headers, RESOLVER)
    assert reason in str(error.value)


class FakeMessage:
    """A message of one partition, as the driver delivers it."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self._offset = offset
        self._value = value

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return b"1"

    def headers(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset


def records(*values: bytes | None) -> Records:
    return Records([FakeMessage(i, value) for i, value in enumerate(values)])  # type: ignore[misc]  # has all that is read


def label(transaction: int, word: str, decided_at: int = 1, origin: str = "ANALYST") -> bytes:
    return encode_record(
        "fraud_label",
        LABEL
        | {
            "transaction_id": transaction,
            "label": word,
            "decided_at": decided_at,
            "origin": origin,
        },
    )


def test_the_last_record_of_a_transaction_stands_whatever_its_time() -> None:
    found = DecodedLabels("labels")
    found.add(
        0, records(label(1, "FRAUD", 9), label(2, "FRAUD"), label(1, "LEGITIMATE", 3)), RESOLVER
    )
    found.add(0, records(label(2, "UNSURE", 1, "REVERSAL")), RESOLVER)
    labels = found.build({"source": "kafka://labels"})
    assert values(labels) == {1: 0, 2: -1}
    assert (labels.facts["records"], labels.facts["transactions"]) == (4, 2)


def test_between_partitions_the_later_decision_stands() -> None:
    found = DecodedLabels("labels")
    found.add(0, records(label(1, "FRAUD", 9), label(2, "FRAUD", 3)), RESOLVER)
    found.add(1, records(label(1, "LEGITIMATE", 3), label(2, "LEGITIMATE", 9)), RESOLVER)
    assert values(found.build({})) == {1: 1, 2: 0}


def test_bad_records_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    found = DecodedLabels("labels")
    bad: list[bytes | None] = [b"\x1b[31mred", None, b"{}"]
    with caplog.at_level(logging.WARNING):
        found.add(2, records(*bad, label(1, "FRAUD"), *[b"x"] * 50), RESOLVER)
        labels = found.build({})
    assert values(labels) == {1: 1}
    assert (labels.facts["bad_records"], labels.facts["records"]) == (53, 54)
    assert "labels 2-0 is not a label: no known framing" in caplog.text
    assert "labels 2-1 is not a label: the value is empty" in caplog.text
    assert "labels: 53 of 54 records are no labels" in caplog.text
    assert "\x1b" not in caplog.text
    assert len(caplog.records) == 6


def test_topic_without_labels_gives_none() -> None:
    assert len(DecodedLabels("labels").build({})) == 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("topic", True),
        ("kafka://", True),
        ("kafka://x", True),
        ("./topic", False),
        ("t.csv", False),
    ],
)
def test_topic_and_file_are_told_apart(source: str, expected: bool) -> None:
    assert is_topic(source) is expected


def test_kafka_address_with_brokers_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not a topic name.*KAFKA_BOOTSTRAP_SERVERS"):
        read_label_topic("kafka://broker:9092/labels")


def test_flags_reach_the_source(tmp_path: Path) -> None:
    argv = ["train", "--transactions", "t.csv", "--labels", "topic", "--maturity-days", "30"]
    source = make_source(build_parser().parse_args(argv), TrainerSettings())
    assert (source.labelling.source, source.labelling.maturity_days) == ("topic", 30.0)
    argv = ["train", "--synthetic", "100", "--maturity-days", "nan"]
    with pytest.raises(WrongUsageError, match="--maturity-days nan must be from 0 to 10000 days"):
        make_source(build_parser().parse_args(argv), TrainerSettings())
