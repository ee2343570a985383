"""CSV files to batches: values bit for bit, and every fault with its file and line."""

from __future__ import annotations

import gzip
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest

from schemas.batch import NO_EVENT_TIME, TransactionBatch, concatenate
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from schemas.csv.codec import CsvChunk, read_identity, read_transactions
from schemas.errors import UnusableFileError
from schemas.json.codec import decode_objects

HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,C1\n"
ROWS = "1,0,86400,68.5,W,13926,1\n2,1,86401,29.125,C,,2\n"


def read(text: str | bytes, identity: str | None = None, chunk_rows: int = 8192) -> list[CsvChunk]:
    content = text.encode() if isinstance(text, str) else text
    other = None if identity is None else io.BytesIO(identity.encode())
    return list(read_transactions(io.BytesIO(content), other, chunk_rows))


def whole(chunks: list[CsvChunk]) -> TransactionBatch:
    return concatenate([chunk.batch for chunk in chunks])


def fault(text: str | bytes, identity: str | None = None) -> str:
    with pytest.raises(UnusableFileError) as error:
        read(text, identity)
    return str(error.value)


def test_rows_become_columns_and_labels() -> None:
    (chunk,) = read(HEADER + ROWS)
    assert chunk.batch.ids.tolist() == [1, 2]
    assert chunk.batch.times.tolist() == [86400, 86401]
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [0, 1]
    assert chunk.first_line == 2
    first = chunk.batch.row(0)
    assert (first["TransactionAmt"], first["ProductCD"], first["card1"]) == (68.5, "W", 13926.0)
    assert chunk.batch.row(1)["card1"] is None
    assert chunk.batch.event_times.tolist() == [NO_EVENT_TIME] * 2


def test_columns_may_come_in_any_order_and_without_a_label() -> None:
    (chunk,) = read("ProductCD,TransactionAmt,event_time,TransactionDT,TransactionID\nW,1,5,2,3\n")
    assert chunk.labels is None
    row = chunk.batch.row(0)
    assert (row["TransactionID"], row["TransactionDT"], row["event_time"]) == (3, 2, 5)


@pytest.mark.parametrize("empty", ["", "NaN", "nan", '""'])
def test_empty_cells_and_nan_are_missing(empty: str) -> None:
    (chunk,) = read(HEADER + f"1,0,2,3,{empty},{empty},1\n")
    assert chunk.batch.string(0, TEXT_INDEX["ProductCD"]) is None
    assert np.isnan(chunk.batch.numbers[0, NUMBER_INDEX["card1"]])


@pytest.mark.parametrize(
    "text",
    ["0.1", "90.3279037475586", "1e-320", "123456789.123456789", "-0.0", "4503599627370497.5"],
)
def test_a_number_is_the_same_double_as_from_json(text: str) -> None:
    (chunk,) = read(HEADER + f"1,0,2,3,W,4,{text}\n")
    row = {"TransactionID": 1, "TransactionDT": 2, "TransactionAmt": 3.0, "C1": json.loads(text)}
    other, _, _ = decode_objects([row], strict=True)
    column = NUMBER_INDEX["C1"]
    assert chunk.batch.numbers[0, column].tobytes() == other.numbers[0, column].tobytes()


def test_identity_is_joined_by_transaction_under_both_spellings() -> None:
    identity = "id-01,TransactionID,DeviceType,id_31\n-5,2,mobile,safari\n-10,7,desktop,\n"
    batch = whole(read(HEADER + ROWS, identity))
    assert batch.row(0)["id_01"] is None
    assert batch.row(0)["DeviceType"] is None
    assert (batch.row(1)["id_01"], batch.row(1)["id_31"]) == (-5.0, "safari")
    assert batch.row(1)["ProductCD"] == "C"


def test_identity_without_rows_joins_nothing() -> None:
    assert whole(read(HEADER + ROWS, "TransactionID,id_01\n")).row(0)["id_01"] is None
    assert len(read_identity(io.BytesIO(b"TransactionID,id_01\n"))) == 0


def test_chunks_are_bounded_and_carry_their_lines() -> None:
    text = HEADER + "".join(f"{i},0,{i},1.5,W,{i},{i}\n" for i in range(25))
    chunks = read(text, chunk_rows=10)
    assert [(len(c.batch), c.first_line) for c in chunks] == [(10, 2), (10, 12), (5, 22)]
    batch = whole(chunks)
    assert batch.ids.tolist() == list(range(25))
    assert {batch.string(i, TEXT_INDEX["ProductCD"]) for i in range(25)} == {"W"}


def test_file_paths_gzip_and_quoted_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "transactions.csv.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(b"\xef\xbb\xbf" + HEADER.encode() + b'1,0,2,3,"W, ""x""",4,5\r\n')
    (chunk,) = read_transactions(path)
    assert chunk.batch.row(0)["ProductCD"] == 'W, "x"'


def test_unknown_columns_are_ignored_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    text = "TransactionID,TransactionDT,TransactionAmt,colour\n" + "1,2,3,red\n" * 30
    assert len(whole(read(text, chunk_rows=7))) == 30
    assert [r.getMessage().endswith("colour") for r in caplog.records] == [True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (HEADER, "has a header but no rows"),
        ("a;b;c\n1;2;3\n", "line 1: no column TransactionID.*separated by commas"),
        ("TransactionID,TransactionDT\n1,2\n", "line 1: no column TransactionAmt"),
        (HEADER.replace("C1", "card1"), "line 1: column card1 occurs twice"),
        (b"\x00\x01\x02\x03PK\n", "not a CSV file"),
        (b"Transaction\xff\xfeID,a\n1,2\n", "line 1: not UTF-8"),
        (HEADER + ROWS + "3,0,1,2,W\n", "line 4: 5 cells where the header has 7"),
        (HEADER + ROWS + "3,0,1,2,W,4,5,6\n", "line 4: 8 cells where the header has 7"),
        (HEADER + ROWS + "3,0,1,2,W,abc,5\n", "line 4, column card1: 'abc' is not a number"),
        (HEADER + ROWS + "x,0,1,2,W,4,5\n", "line 4, column TransactionID: 'x' is not an integer"),
        (HEADER + ROWS + "3,2,1,2,W,4,5\n", "line 4, column isFraud: 2 is not 0 or 1"),
        (HEADER + ROWS + "3,,1,2,W,4,5\n", "line 4, column isFraud: no value"),
        (HEADER + ROWS + "3,0,1,,W,4,5\n", "line 4, column TransactionAmt: no value"),
        (HEADER + ROWS + ",0,1,2,W,4,5\n", "line 4, column TransactionID: no value"),
        (HEADER + ROWS + "3,0,1,inf,W,4,5\n", "line 4, column TransactionAmt: inf is not finite"),
        (HEADER + ROWS + "3,0,1,2,W,4,-Infinity\n", "line 4, column C1: -inf is not finite"),
        (HEADER.encode() + b"3,0,1,2,\xff\xfe,4,5\n", "line 2, column ProductCD: not UTF-8"),
        (gzip.compress((HEADER + ROWS * 9).encode(), mtime=0)[:-12], "cannot read"),
    ],
)  # fmt: skip
def test_a_fault_names_file_line_and_column(text: str | bytes, message: str) -> None:
    import re

    found = fault(text)
    assert found.startswith("the CSV")
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ("TransactionID,id_01\n5,1\n6,2\n5,3\n", "TransactionID 5 occurs more than once"),
        ("TransactionID,id_01\n5,1\n6,inf\n", "line 3, column id_01"),
        ("id_01\n1\n", "no column TransactionID"),
        ("TransactionID,C1\n1,2\n", "column C1 is both in"),
    ],
)
def test_a_fault_in_the_identity_table_is_named(identity: str, message: str) -> None:
    assert message in fault(HEADER + ROWS, identity)


def test_an_absent_file_is_named() -> None:
    with pytest.raises(UnusableFileError, match=r"/nowhere/at_all\.csv: cannot read: No such file"):
        list(read_transactions("/nowhere/at_all.csv"))


def test_damaged_gzip_makes_the_file_unusable() -> None:
    packed = bytearray(gzip.compress((HEADER + ROWS).encode(), mtime=0))
    packed[20:40] = bytes(20)
    assert fault(bytes(packed)).startswith("the CSV: cannot read: ")


def test_header_that_is_too_long_is_refused() -> None:
    assert "line 1: not a CSV header" in fault(HEADER.replace("C1", "x" * 200_000))


def test_header_with_a_hundred_thousand_columns_is_scanned_once() -> None:
    names = ",".join(f"x{i:x}" for i in range(100_000))
    started = time.process_time()
    assert "no column TransactionID" in fault(names + "\n1\n")
    assert "column x5 occurs twice" in fault(names + ",x5\n")
    assert (
        time.process_time() - started < 10.0
    )  # minutes, if each were compared with all previous ones


def test_ragged_row_that_is_not_text_is_reported_with_its_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoilt = (HEADER + ROWS).encode() + b"\xff\xfe,1,2\n"
    assert fault(spoilt) == "the CSV, line 4: 3 cells where the header has 7"
    assert capfd.readouterr().err == ""
