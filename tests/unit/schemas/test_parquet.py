"""Parquet files: the same rows as from a CSV, and every fault with its file, row and column."""

from __future__ import annotations

import datetime as dt
import io
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from schemas.batch import NO_EVENT_TIME, TransactionBatch, concatenate
from schemas.contracts import NUMBER_INDEX
from schemas.csv import parquet as reader
from schemas.csv.codec import CsvChunk, ReadFacts, read_transactions
from schemas.errors import UnusableFileError
from trainer.synth import generate

BASE: dict[str, Any] = {
    "TransactionID": [1, 2],
    "isFraud": [0, 1],
    "TransactionDT": [86400, 86401],
    "TransactionAmt": [68.5, 29.125],
    "ProductCD": ["W", None],
    "C1": [1.0, None],
}


def table(**columns: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table({**BASE, **columns}), out)
    return out.getvalue()


def read(content: bytes, **more: Any) -> list[CsvChunk]:
    return list(read_transactions(io.BytesIO(content), **more))


def row(content: bytes, at: int = 0) -> dict[str, Any]:
    (chunk,) = read(content)
    return chunk.batch.row(at)


def fault(content: bytes) -> str:
    with pytest.raises(UnusableFileError) as error:
        read(content)
    assert str(error.value).startswith("the CSV")
    return str(error.value)


def same(left: TransactionBatch, right: TransactionBatch) -> bool:
    return all(left.row(i) == right.row(i) for i in range(len(left)))


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd", "none"])
def test_rows_are_those_of_the_csv_bit_for_bit(tmp_path: Path, codec: str) -> None:
    made = generate(300, 5)
    frames = {"transactions": made.transactions, "identity": made.identity}
    paths: dict[str, list[Path]] = {"csv": [], "parquet": []}
    for name, frame in frames.items():
        paths["csv"].append(tmp_path / f"{name}.csv")
        frame.to_csv(paths["csv"][-1], index=False)
        options = arrow_csv.ConvertOptions(strings_can_be_null=True)
        stored = arrow_csv.read_csv(paths["csv"][-1], convert_options=options)
        paths["parquet"].append(tmp_path / f"{name}.data")
        parquet.write_table(stored, paths["parquet"][-1], compression=codec, row_group_size=70)
    whole = {kind: list(read_transactions(both[0], both[1], 64)) for kind, both in paths.items()}
    batches = {k: concatenate([c.batch for c in chunks]) for k, chunks in whole.items()}
    assert batches["csv"].numbers.tobytes() == batches["parquet"].numbers.tobytes()
    assert same(batches["csv"], batches["parquet"])
    labels = {k: np.concatenate([c.labels for c in v if c.labels is not None]).tolist()
              for k, v in whole.items()}  # fmt: skip
    assert labels["csv"] == labels["parquet"]
    assert whole["parquet"][-1].place(0) == f"row {whole['parquet'][-1].first_line}"


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["W", None], pa.large_string()),
        pa.array(["W", None]).dictionary_encode(),
        pa.array([b" W ", None]),
        pa.array(["W", "NaN"]),
    ],
)
def test_texts_may_be_stored_in_any_way(texts: Any) -> None:
    content = table(ProductCD=texts)
    assert (row(content, 0)["ProductCD"], row(content, 1)["ProductCD"]) == ("W", None)


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array([1, None], pa.int8()),
        pa.array([1, None], pa.uint64()),
        pa.array([1.0, float("nan")], pa.float32()),
        pa.array([True, None]),
        pa.array(["1", "NA"]),
        pa.array(["1.0", None]).dictionary_encode(),
        pa.array([1, None], pa.decimal128(10, 3)),
    ],
)
def test_numbers_may_be_stored_in_any_way(numbers: Any) -> None:
    content = table(C1=numbers)
    assert (row(content, 0)["C1"], row(content, 1)["C1"]) == (1.0, None)


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("TransactionID", pa.array([1.0, 2.0])),
        ("TransactionID", pa.array(["1", "2.0"])),
        ("TransactionID", pa.array([1, 2], pa.uint32())),
        ("ProductCD", pa.array([None, None], pa.float64())),
        ("ProductCD", pa.array([float("nan"), None])),
        ("ProductCD", pa.nulls(2)),
        ("C1", pa.nulls(2)),
    ],
)
def test_whole_numbers_and_empty_columns_are_read(column: str, cells: Any) -> None:
    (chunk,) = read(table(**{column: cells}))
    assert chunk.batch.ids.tolist() == [1, 2]
    if column != "TransactionID":
        assert [chunk.batch.row(i)[column] for i in range(2)] == [None, None]


def test_event_time_may_be_a_timestamp() -> None:
    when = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    (chunk,) = read(table(event_time=pa.array([when, None], pa.timestamp("us", "UTC"))))
    assert chunk.batch.event_times.tolist() == [int(when.timestamp() * 1000), NO_EVENT_TIME]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"C1": ["1", "x2"]}, "row 2, column C1: 'x2' is not a number"),
        ({"C1": [1.0, float("inf")]}, "row 2, column C1: inf is not finite"),
        ({"C1": [[1.0], [2.0]]}, "column C1: stored as list<"),
        ({"C1": [dt.date(2026, 1, 1)] * 2}, "column C1: stored as date32[day], which is not"),
        ({"ProductCD": [None, 3]}, "row 2, column ProductCD: the number 3 where the column holds"),
        ({"ProductCD": [True, False]}, "column ProductCD: stored as bool, which is not text"),
        ({"ProductCD": [b"W", b"\xff"]}, r"row 2, column ProductCD: b'\xff' is not UTF-8 text"),
        ({"TransactionID": [1.0, 2.5]}, "row 2, column TransactionID: '2.5' is not an integer"),
        ({"TransactionID": [1, None]}, "row 2, column TransactionID: no value"),
        ({"TransactionDT": [1, -5]}, "row 2, column TransactionDT: TransactionDT is -5"),
        ({"TransactionAmt": [1.0, float("nan")]}, "row 2, column TransactionAmt: no value"),
        ({"isFraud": [0, 2]}, "row 2, column isFraud: 2 is not 0 or 1"),
        ({"isFraud": [0.0, float("nan")]}, "row 2, column isFraud: no value"),
        ({"id-01": [1.0, 2.0], "id_01": [1.0, 2.0]}, "column id_01 occurs twice"),
    ],
)  # fmt: skip
def test_a_fault_names_file_row_and_column(columns: dict[str, Any], message: str) -> None:
    assert message in fault(table(**columns))


def test_missing_column_is_named() -> None:
    out = io.BytesIO()
    parquet.write_table(pa.table({"transactionid": [1]}), out)
    assert "no column TransactionID, TransactionDT" in (found := fault(out.getvalue()))
    assert "'transactionid' should be 'TransactionID'" in found


def test_rows_are_counted_through_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_ROWS", 10)
    n = 35
    columns: dict[str, Any] = {
        "TransactionID": list(range(n)),
        "isFraud": [0] * n,
        "TransactionDT": [5] * n,
        "TransactionAmt": [1.0] * n,
        "ProductCD": ["W"] * n,
        "C1": ["1"] * 31 + ["?"] + ["1"] * 3,
    }
    assert "row 32, column C1: '?' is not a number" in fault(table(**columns))


def test_unknown_and_rounded_columns_are_facts(caplog: pytest.LogCaptureFixture) -> None:
    facts = ReadFacts()
    with caplog.at_level(logging.WARNING):
        read(table(card1=pa.array([0.1, 2], pa.float32()), index=[1, 2]), facts=facts)
    assert facts.transactions.unknown == ["index"]
    assert facts.transactions.rounded == ["card1"]
    assert facts.transactions.format == "parquet"
    assert "ignoring unknown columns: index" in caplog.text


def test_integers_beyond_doubles_are_rounded_as_text_is() -> None:
    (chunk,) = read(table(C1=[2**53 + 1, 1]))
    assert chunk.batch.numbers[0, NUMBER_INDEX["C1"]] == float(str(2**53 + 1))


def test_long_texts_of_a_small_dictionary_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TEXT_BYTES", 1_000_000)
    n = 3_000
    columns: dict[str, Any] = {name: [values[0]] * n for name, values in BASE.items()}
    content = table(**columns | {"ProductCD": ["x" * 1_000] * n})
    assert len(content) < 100_000
    assert "row 1, column ProductCD: a text of 1,000 bytes is too long" in fault(content)


@pytest.mark.parametrize("cut", [4, 30, -1, -6])
def test_truncated_file_is_refused(cut: int) -> None:
    assert "damaged Parquet file" in fault(table()[:cut])


def test_damaged_page_is_refused() -> None:
    content = bytearray(table())
    content[4:40] = bytes(36)
    assert "damaged Parquet file" in fault(bytes(content))


def test_reading_a_csv_does_not_import_the_parquet_reader(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("TransactionID,TransactionDT,TransactionAmt\n1,2,3\n")
    code = (
        "import sys; from schemas.csv.codec import read_transactions; "
        f"print(len(list(read_transactions({str(path)!r}))), 'pyarrow.parquet' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "False"]
