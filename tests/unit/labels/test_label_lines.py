"""Label files: every line checked, and each fault named with line and column."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from schemas.errors import UnusableFileError
from stream_scorer.labels.label_lines import LabelLine, LabelLines, read_label_lines

NOW = 1_790_000_000_000
HEADER = "transaction_id,label,decided_at,note\n"
GOOD = HEADER + "5,FRAUD,2026-01-31T12:30:00Z,stolen card\n-7,legitimate,1700000000000,\n"
CLEAN = "8,FRAUD,2026-01-31,x\n"
PARSED = [
    LabelLine(5, "FRAUD", 1_769_862_600_000, "stolen card"),
    LabelLine(-7, "LEGITIMATE", 1_700_000_000_000, None),
]


def read(tmp_path: Path, content: str | bytes) -> LabelLines:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_label_lines(path, NOW)


def zipped(content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("labels.csv", content)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),  # as Excel saves it
        GOOD.replace("\n", "\r\n").encode(),
        gzip.compress(GOOD.encode()),
        zipped(GOOD),
        (GOOD + "\n\n").encode(),
        GOOD.replace("stolen card", '"stolen card"').replace(",label", ", Label ").encode(),
        GOOD.replace("FRAUD", "1").replace("legitimate", "0").encode(),
        GOOD.replace("12:30:00Z", "13:30:00+01:00").encode(),
    ],
)
def test_file_is_read_however_it_was_saved(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content)
    assert (list(found), found.bad, len(found)) == (PARSED, 0, 2)


def test_note_may_be_left_out_and_columns_may_be_in_any_order(tmp_path: Path) -> None:
    found = read(tmp_path, "decided_at,transaction_id,label\n2026-01-31,5,UNSURE\n")
    assert list(found) == [LabelLine(5, "UNSURE", 1_769_817_600_000, None)]


def test_line_numbers_count_the_lines_of_the_file(tmp_path: Path) -> None:
    rows = '5,FRAUD,2026-01-31,"two\nlines"\n\n6,MAYBE,2026-01-31,"a\nb"\n7,x,2026-01-31,\n'
    found = read(tmp_path, HEADER + rows)
    assert [str(f) for f in found.faults] == [
        "line 5, column label: 'MAYBE' is not FRAUD, LEGITIMATE or UNSURE",
        "line 7, column label: 'x' is not FRAUD, LEGITIMATE or UNSURE",
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("x,FRAUD,2026-01-31,", "column transaction_id: 'x' is not a whole number of 64 bits"),
        ("5.0,FRAUD,2026-01-31,", "column transaction_id: '5.0' is not a whole"),
        (f"{2**63},FRAUD,2026-01-31,", "column transaction_id"),
        (f"{'9' * 5000},FRAUD,2026-01-31,", "column transaction_id"),
        ("\u0665,FRAUD,2026-01-31,", "column transaction_id"),
        (",FRAUD,2026-01-31,", "column transaction_id: '' is not"),
        ("5,2,2026-01-31,", "column label: '2' is not FRAUD"),
        ("5,,2026-01-31,", "column label: '' is not FRAUD"),
        ("5,FRAUD,31.01.2026,", "column decided_at: '31.01.2026' is not a time: write ISO 8601"),
        ("5,FRAUD,,", "column decided_at: '' is not a time"),
        ("5,FRAUD,1700000000,", "column decided_at: '1700000000' is not a time in milliseconds"),
        (f"5,FRAUD,{'9' * 40},", "column decided_at"),
        ("5,FRAUD,1969-12-31,", "column decided_at: '1969-12-31' is before 1970"),
        ("5,FRAUD,2027-01-31,", "column decided_at: '2027-01-31' is in the future"),
        ("5,FRAUD,0001-01-01T00:00:00+23:59,", "column decided_at"),
        ("5,FRAUD,2026-01-31", "3 cells where the header has 4"),
        ("5,FRAUD,2026-01-31,a,b", "5 cells where the header has 4"),
        ("5,FRAUD,2026-01-31," + "x" * 2001, "column note: has 2,001 characters"),
    ],
)
def test_bad_line_is_named_and_the_others_are_kept(tmp_path: Path, row: str, fault: str) -> None:
    found = read(tmp_path, f"{GOOD}{row}\n8,FRAUD,2026-01-31,\n")
    assert (found.bad, len(found)) == (1, 3)
    (named,) = map(str, found.faults)
    assert named.startswith("line 4")
    assert fault in named
    assert len(named) < 200


def test_lines_of_one_transaction_that_differ_are_all_bad(tmp_path: Path) -> None:
    rows = "5,FRAUD,2026-01-31,\n6,FRAUD,2026-01-31,\n5,LEGITIMATE,2026-01-31,\n"
    found = read(tmp_path, HEADER + rows + "6,FRAUD,2026-01-31,\n")
    assert [line.transaction_id for line in found] == [6]
    assert (found.bad, found.repeated, len(found)) == (2, 1, 1)
    assert [str(f) for f in found.faults] == [
        "line 2: line 4 has another label, time or note for transaction 5: keep one of them",
        "line 4: line 2 has another label, time or note for transaction 5: keep one of them",
    ]


def test_many_bad_lines_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "x,FRAUD,2026-01-31,\n" * 500)
    assert (found.bad, len(found.faults), len(found)) == (500, 20, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n", "line 1 is blank"),
        (b"transaction_id;label;decided_at\n", "not separated by commas"),
        (b"transaction_id,label\n", "line 1: no column decided_at; the columns are"),
        (b"transaction_id,label,decided_at,nots\n", "unknown column 'nots'; the columns are"),
        (b"transaction_id,label,label,decided_at\n", "column label occurs twice"),
        (GOOD.encode("utf-16"), "UTF-16 text"),
        (GOOD.replace("stolen", "gestört").encode("latin-1"), "line 2: not UTF-8 text (byte"),
        (HEADER.encode() + b"5,FRAUD,2026-01-31,\0\n", "line 2: binary data"),
        (HEADER.encode() + b'5,FRAUD,2026-01-31,"a"b\n', "line 2: ',' expected after '\"': within"),
        (HEADER.encode() + b'5,FRAUD,2026-01-31,"a', "line 2: a quotation mark is not closed"),
        (f'{GOOD}6,FRAUD,2026-01-31,"{CLEAN}'.encode(), "line 4: a quotation mark is not closed"),
        (
            f'{GOOD}6,FRAUD,2026-01-31,"{CLEAN * 9000}'.encode(),
            "line 4: a quotation mark is not closed",
        ),
        (
            f'{GOOD}6,FRAUD,2026-01-31,"{CLEAN}7,FRAUD,2026-01-31,"y"\n'.encode(),
            "line 4: a quotation mark is not closed",
        ),
        (f"{HEADER}5,FRAUD,2026-01-31,{'x' * 140_000}\n".encode(), "line 2: a cell has more than"),
        (GOOD.replace("\n", "\r").encode(), "line 1: a carriage return within the line"),
        (b"x" * (1 << 20), "longer than"),
        (gzip.compress(GOOD.encode())[:-9], "damaged or cut off"),
        (b"PAR1" + b"x" * 100, "a Parquet file: save it as CSV"),
        (b"PK\x03\x04nonsense", ""),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 600, "an Excel workbook"),
        (b'{"transaction_id": 5}', "JSON"),
    ],
)
def test_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UnusableFileError) as error:
        read(tmp_path, content)
    assert reason in str(error.value)
    assert "labels.csv" in str(error.value)
    assert len(str(error.value)) < 400


def test_lines_read_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + "".join(f"{i},FRAUD,2026-01-31,\n" for i in range(25_000)))
    seen: list[int] = []
    assert len(read_label_lines(path, NOW, seen.append)) == 25_000
    assert seen == [10_001, 20_001, 25_001]
