"""Labels from elsewhere: the last one stands over isFraud, and rows too young are left out."""

from __future__ import annotations

import datetime as dt
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.errors import UnusableFileError
from stream_scorer.errors import UsageError
from stream_scorer.labels.labels import Labels
from stream_scorer.runtime.settings import StoreSettings
from trainer.commands.parser import build_parser
from trainer.commands.train_run import make_source
from trainer.data.ingest import TrainingRows, ingest
from trainer.data.label_file import read_label_file
from trainer.data.label_topic import is_topic, read_label_topic
from trainer.data.labels import Labelling
from trainer.data.source import CsvSource
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings

DAY = 86_400
HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt\n"


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
