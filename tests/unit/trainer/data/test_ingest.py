"""Ingest: each transaction once, labelled, in time order, with the counts in the facts."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from schemas.batch import build_batch
from schemas.contracts import TRANSACTION_COLUMNS
from schemas.errors import UnusableFileError
from stream_scorer.errors import UsageError
from stream_scorer.runtime.settings import StoreSettings
from tests.support.factories import make_transactions
from trainer.data import ingest as ingest_module
from trainer.data.duplicates import find_repeats
from trainer.data.ingest import TrainingRows, ingest
from trainer.data.memory import available_memory
from trainer.data.names import shorten_names
from trainer.data.rows import gather
from trainer.data.source import CsvSource, SyntheticSource

HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1\n"


def nothing(_: int) -> None:
    pass


def write(path: Path, rows: Sequence[str], header: str = HEADER) -> str:
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return str(path)


def read(transactions: str, identity: str | None = None) -> TrainingRows:
    return ingest(CsvSource(transactions, identity, StoreSettings()), nothing)


def rows_of(rows: TrainingRows, where: Any = None) -> list[dict[str, Any]]:
    part = rows.part(np.ones(len(rows), np.bool_) if where is None else where)
    assert len(part.batch) == len(part)
    return [part.batch.row(i) | {"isFraud": int(part.labels[i])} for i in range(len(part))]


def test_rows_are_sorted_by_time_and_equal_times_keep_their_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(
        tmp_path / "t.csv",
        ["1,0,50,1,W,10", "2,1,20,2,C,11", "3,0,50,3,,12", "4,1,20,4,H,", "5,0,90,5,R,14"],
    )
    with caplog.at_level(logging.WARNING):
        rows = read(path)
    found = rows_of(rows)
    assert [row["TransactionID"] for row in found] == [2, 4, 1, 3, 5]
    assert [row["isFraud"] for row in found] == [1, 1, 0, 0, 0] == rows.labels.tolist()
    assert rows.times.tolist() == [20, 20, 50, 50, 90]
    assert [row["ProductCD"] for row in found] == ["C", "H", "W", None, "R"]
    assert [row["card1"] for row in found] == [11.0, None, 10.0, 12.0, 14.0]
    assert rows.facts["out_of_order"] == 2
    assert "sorted by TransactionDT, since 2 of 5 rows were out of order" in caplog.text


def test_shuffled_file_gives_the_rows_of_the_sorted_one(tmp_path: Path) -> None:
    lines = [f"{i},{i % 3 == 0:d},{i * 10},{i}.25,{'WCHRS'[i % 5]},{i % 7}" for i in range(1, 500)]
    shuffled = [lines[i] for i in np.random.default_rng(3).permutation(len(lines))]
    ordered = read(write(tmp_path / "a.csv", lines))
    rows = read(write(tmp_path / "b.csv", shuffled))
    assert ordered.positions is None
    where = ordered.times % 4 == 0
    assert rows.times.tolist() == ordered.times.tolist()
    assert rows_of(rows, where) == rows_of(ordered, where)
    assert len(rows_of(rows, where)) == int(where.sum())


def test_part_takes_rows_from_several_chunks_in_order() -> None:
    made = make_transactions(40)
    chunks = [build_batch(made[a:b]) for a, b in ((0, 7), (7, 8), (8, 30), (30, 40))]
    positions = np.random.default_rng(1).permutation(40)
    positions[positions >= 35] = -1
    times = np.arange(35)
    rows = TrainingRows(chunks, np.zeros(35, np.int8), times, {}, positions)
    where = times % 3 != 1
    batch = rows.part(where).batch
    expected = [made[np.flatnonzero(positions == t)[0]] for t in times[where]]
    whole = build_batch(expected)
    assert [batch.row(i) for i in range(len(batch))] == [whole.row(i) for i in range(len(whole))]
    assert len(batch.text) == len(whole.text)
    rows.release()
    assert rows.chunks == []


def test_nothing_gathered_is_an_empty_batch() -> None:
    assert len(gather([build_batch(make_transactions(3))], np.full(3, -1), 0)) == 0


def test_identical_rows_are_dropped_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["1,0,10,1,W,10", "2,1,20,2,,", "3,0,30,3,C,12"]
    with caplog.at_level(logging.WARNING):
        rows = read(write(tmp_path / "t.csv", [*lines, lines[1], lines[0], lines[1]]))
    assert [row["TransactionID"] for row in rows_of(rows)] == [1, 2, 3]
    assert (rows.facts["duplicates_dropped"], rows.facts["rows_read"]) == (3, 6)
    assert "dropped 3 of 6 rows that repeat an earlier row" in caplog.text


@pytest.mark.parametrize(
    ("other", "column"),
    [
        ("2,1,20,2,C,", "ProductCD: 'W' and 'C'"),
        ("2,1,20,2,,", "ProductCD: 'W' and no value"),
        ("2,1,20,2.5,W,", "TransactionAmt: 2.0 and 2.5"),
        ("2,1,21,2,W,", "TransactionDT: 20 and 21"),
        ("2,0,20,2,W,", "isFraud: 1 and 0"),
        ("2,1,20,2,W,7", "card1: no value and 7.0"),
    ],
)
def test_different_rows_with_one_id_are_refused(tmp_path: Path, other: str, column: str) -> None:
    path = write(tmp_path / "t.csv", ["1,0,10,1,W,10", "2,1,20,2,W,", "", "3,0,30,3,C,12", other])
    with pytest.raises(UnusableFileError) as error:
        read(path)
    assert f"{path}: different rows with one TransactionID" in str(error.value)
    assert f"2 in line 3 and line 6 ({column})" in str(error.value)


def test_only_the_first_differing_rows_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.duplicates.BLOCK_ROWS", 2)
    lines = [f"{i},0,10,{amount},W,1" for amount in (1, 2) for i in range(9)]
    with pytest.raises(UnusableFileError, match=r"0 in line 2 and line 11 .*; and 6 more\. Keep"):
        read(write(tmp_path / "t.csv", lines))


def test_repeats_are_found_across_chunks() -> None:
    made = make_transactions(30)
    chunks = [build_batch(made[:20]), build_batch(made[5:30]), build_batch([made[6], made[29]])]
    found = find_repeats(chunks, None, str, "t.csv")
    assert np.flatnonzero(found).tolist() == [*range(20, 35), 45, 46]


def test_identity_rows_that_match_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "t.csv", [f"{i},{i % 2},{i},1,W,1" for i in range(8)])
    identity = write(tmp_path / "i.csv", ["3,-5", "5,-6", "99,-7"], "TransactionID,id_01\n")
    with caplog.at_level(logging.INFO):
        rows = read(path, identity)
    assert rows.facts["identity_match"] == {
        "transactions": 2,
        "identity_rows": 3,
        "identity_rows_matched": 2,
    }
    assert "2 of 8 transactions (25.0 %) have an identity; 2 of 3 identity rows" in caplog.text
    assert "about a quarter is usual" not in caplog.text


def test_few_identities_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "t.csv", [f"{i},{i % 2},{i},1,W,1" for i in range(50)])
    identity = write(tmp_path / "i.csv", ["3,-5", "5,-6"], "TransactionID,id_01\n")
    with caplog.at_level(logging.WARNING):
        read(path, identity)
    assert "only 4.0 % of the transactions have an identity" in caplog.text


@pytest.mark.parametrize(
    ("rows", "known"), [(["7,-5"], "begins at TransactionID 7"), ([], "no rows")]
)
def test_identity_file_of_other_transactions_is_refused(
    tmp_path: Path, rows: list[str], known: str
) -> None:
    path = write(tmp_path / "t.csv", ["1,0,10,1,W,10", "2,1,20,2,W,1"])
    identity = write(tmp_path / "i.csv", rows, "TransactionID,id_01\n")
    with pytest.raises(UsageError, match=r"no row belongs to a transaction of .*t\.csv") as error:
        read(path, identity)
    assert known in str(error.value)
    assert identity in str(error.value)


def test_repeated_identity_row_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["1,0,10,1,W,10", "2,1,20,2,W,1"])
    identity = write(tmp_path / "i.csv", ["1,-5", "2,-6", "1,-5"], "TransactionID,id_01\n")
    with pytest.raises(
        UnusableFileError, match="TransactionID 1 occurs more than once, in line 2 an"
    ):
        read(path, identity)


def test_missing_columns_are_warned_about_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "t.csv", ["1,0,10,1,W,10", "2,1,20,2,W,1"])
    with caplog.at_level(logging.WARNING):
        rows = read(path)
    missing = rows.facts["missing_columns"]
    assert len(missing) == len(TRANSACTION_COLUMNS) - 6  # five of the file, and event_time
    assert {"V1", "V339", "id_01", "DeviceInfo", "card2"} <= set(missing)
    assert not {"card1", "event_time", "isFraud", "TransactionID"} & set(missing)
    assert f"{len(missing)} columns are missing and count as empty" in caplog.text
    assert "(there is no identity file)" in caplog.text
    assert "V1-V339" in caplog.text


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["V1", "V2", "V3", "V5"], "V1-V3, V5"),
        (["id_01", "id_02", "id_03", "DeviceType"], "id_01-id_03, DeviceType"),
        (["C1", "C2", "D3"], "C1, C2, D3"),
        ([f"a{i}x" for i in range(25)], ", ".join(f"a{i}x" for i in range(20)) + " and 5 more"),
        ([], ""),
    ],
)
def test_runs_of_columns_are_shortened(names: list[str], shown: str) -> None:
    assert shorten_names(names) == shown


@pytest.mark.parametrize("kind", ["csv", "gzip", "zip", "parquet"])
def test_every_format_gives_the_same_rows_and_the_digest_of_its_bytes(
    tmp_path: Path, kind: str
) -> None:
    plain = (HEADER + "".join(f"{i},{i % 2},{i},1.5,W,7\n" for i in range(50))).encode()
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("train_transaction.csv", plain)
            made.writestr("train_identity.csv", "TransactionID,id_01\n3,-5\n")
    elif kind == "parquet":
        parquet.write_table(arrow_csv.read_csv(io.BytesIO(plain)), out)
    else:
        out.write(gzip.compress(plain) if kind == "gzip" else plain)
    path = tmp_path / "transactions"
    path.write_bytes(out.getvalue())
    identity = str(path) if kind == "zip" else None
    source = CsvSource(path.as_uri(), identity, StoreSettings())
    rows = ingest(source, nothing)
    assert [row["TransactionID"] for row in rows_of(rows)] == list(range(50))
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    assert set(rows.facts["sha256"].values()) == {digest}
    assert rows.facts["files"]["transactions"]["format"] == kind
    assert source.size() == len(out.getvalue()) * (2 if identity else 1)
    if identity:
        assert rows.facts["files"]["identity"]["member"] == "train_identity.csv"
        assert rows.facts["identity_match"]["transactions"] == 1


@pytest.mark.parametrize("kind", ["csv", "zip"])
def test_pipe_is_read_once(tmp_path: Path, kind: str) -> None:
    plain = (HEADER + "".join(f"{i},{i % 2},{i},1.5,W,7\n" for i in range(9))).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("a.csv", plain)
    content = plain if kind == "csv" else out.getvalue()
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    source = CsvSource(str(path), None, StoreSettings())
    assert source.size() is None
    rows = ingest(source, nothing)
    writer.join(10)
    assert len(rows) == 9
    assert rows.facts["sha256"] == {"transactions": hashlib.sha256(content).hexdigest()}


def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"TransactionID": [1, 2], "isFraud": [0, 1], "TransactionDT": [1, 2],
               "TransactionAmt": [1.0, 2.0]}  # fmt: skip
    parquet.write_table(pa.table(columns), path)
    source = CsvSource(str(path), None, StoreSettings())
    chunks = source.chunks(nothing)
    next(chunks)
    with path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(UsageError, match="was changed while it was read: start again"):
        next(chunks)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://example.org/t.csv", r"use a path, file:///path or s3://bucket/key"),
        ("/nowhere/at_all.csv", "cannot read /nowhere/at_all.csv: No such file"),
        ("/", "cannot read /: Is a directory"),
    ],
)
def test_source_that_cannot_be_opened_is_named(uri: str, message: str) -> None:
    source = CsvSource(uri, None, StoreSettings())
    with pytest.raises(UsageError, match=message):
        list(source.chunks(nothing))


def test_rows_that_need_more_memory_than_there_is_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "available_memory", lambda: 100_000)
    path = write(tmp_path / "t.csv", [f"{i},{i % 2},{i},1,W,1" for i in range(100)])
    with pytest.raises(UsageError, match=r"t\.csv: the first 100 rows alone need .* GiB of memory"):
        read(path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"meminfo": "MemFree: 1 kB\nMemAvailable:    2000 kB\n"}, 2_048_000),
        (
            {
                "meminfo": "MemAvailable:    2000 kB\n",
                "memory.max": "1000000\n",
                "memory.current": "900000\n",
                "memory.stat": "anon 1\ninactive_file 50000\n",
            },
            150_000,
        ),
        ({"meminfo": "MemAvailable: 2 kB\n", "memory.max": "max\n", "memory.current": "9\n"}, 2048),
        ({"memory.max": "100\n", "memory.current": "900\n"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "5000\n",
                "memory/memory.usage_in_bytes": "1000\n",
            },
            4000,
        ),
        ({}, None),
    ],
)
def test_available_memory_follows_machine_and_container(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert available_memory(tmp_path / "meminfo", tmp_path) == expected


def test_synthetic_rows_have_the_same_counts() -> None:
    rows = ingest(SyntheticSource(300, 5), nothing)
    assert (rows.facts["rows_read"], rows.facts["duplicates_dropped"]) == (300, 0)
    assert (np.diff(rows.times) >= 0).all()
