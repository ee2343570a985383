"""Files by their content: packed ones are unpacked, and what is no table is named."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.csv import archive, packed
from schemas.csv.codec import CsvChunk, ReadFacts, read_transactions
from schemas.errors import UnusableFileError

HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD\n"
CSV = (HEADER + "1,0,86400,68.5,W\n2,1,86401,29.125,C\n").encode()
IDENTITY = b"TransactionID,id-01\n2,-5\n"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()


def read(content: bytes, identity: bytes | None = None, **more: Any) -> list[CsvChunk]:
    other = None if identity is None else io.BytesIO(identity)
    return list(read_transactions(io.BytesIO(content), other, **more))


def ids(content: bytes) -> list[int]:
    return [i for chunk in read(content) for i in chunk.batch.ids.tolist()]


def fault(content: bytes) -> str:
    with pytest.raises(UnusableFileError) as error:
        read(content)
    assert str(error.value).startswith("the CSV")
    return str(error.value)


def table_bytes() -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table({"TransactionID": [1]}), out)
    return out.getvalue()


def test_gzip_with_several_members_is_one_file() -> None:
    assert ids(gzip.compress(CSV[:40]) + gzip.compress(CSV[40:]) + gzip.compress(b"")) == [1, 2]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zip_with_one_member_is_that_table_under_any_name(method: int) -> None:
    facts = ReadFacts()
    (chunk,) = read(zipped({"folder/data.txt": CSV}, method), facts=facts)
    assert chunk.batch.ids.tolist() == [1, 2]
    assert (facts.transactions.format, facts.transactions.member) == ("zip", "folder/data.txt")


def test_competition_archive_gives_each_reader_its_member() -> None:
    content = zipped(
        {
            "ieee/sample_submission.csv": b"TransactionID,isFraud\n",
            "ieee/test_identity.csv": IDENTITY,
            "ieee/test_transaction.csv": CSV,
            "ieee/train_identity.csv": IDENTITY,
            "ieee/train_transaction.csv": CSV,
            "__MACOSX/ieee/._train_transaction.csv": b"junk",
        }
    )
    facts = ReadFacts()
    (chunk,) = read(content, content, facts=facts)
    assert chunk.batch.row(1)["id_01"] == -5.0
    assert facts.transactions.member == "ieee/train_transaction.csv"
    assert facts.identity.member == "ieee/train_identity.csv"


def test_member_with_the_subject_in_its_name_is_chosen_among_others() -> None:
    assert ids(zipped({"my_Transactions.csv": CSV, "identity.csv": IDENTITY})) == [1, 2]


def test_member_is_named_in_the_place_of_a_fault() -> None:
    content = zipped({"a.csv": CSV + b"3,0,x,1,W\n", "readme.txt": b"text"})
    assert "(a.csv), line 4, column TransactionDT: 'x' is not an integer" in fault(content)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.csv": CSV, "b.csv": CSV}, "2 CSV files, and which one is meant is not clear"),
        ({"a.csv": CSV, "b.csv": CSV}, "Members: a.csv, b.csv"),
        (
            {"train_transaction.csv": CSV, "old/train_transaction.csv": CSV},
            "name one of them train_transaction.csv",
        ),
        ({"a.txt": CSV, "b.txt": CSV}, "no CSV file; its members are: a.txt, b.txt"),
        ({}, "the zip archive is empty"),
        ({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}, r"Excel workbook \(.xlsx\)"),
        ({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}, "an Office document"),
        ({"mimetype": b"x", "content.xml": b"<x/>"}, "an Office document"),
        ({"inner.zip": zipped({"a.csv": CSV})}, "a zip archive inside the packed file"),
        ({"inner.csv": gzip.compress(CSV)}, "a gzip file inside the packed file"),
        ({"inner.csv": table_bytes()}, "a Parquet file inside the packed file"),
        ({"a.csv": b""}, r"\(a.csv\): the file is empty"),
        ({"a.csv": b"{}"}, r"\(a.csv\): this is JSON"),
    ],
)
def test_archive_without_one_clear_table_is_refused(
    members: dict[str, bytes], message: str
) -> None:
    import re

    found = fault(zipped(members))
    assert re.search(message, found), found


def test_member_names_never_lead_to_a_file(tmp_path: Path) -> None:
    names = ("../../outside.csv", "/etc/outside.csv", "c:\\outside.csv")
    for name in names:
        path = tmp_path / "archive.zip"
        path.write_bytes(zipped({name: CSV}))
        (chunk,) = read_transactions(path)
        assert len(chunk.batch) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["archive.zip"]
    assert not (tmp_path.parent.parent / "outside.csv").exists()


def test_member_names_in_messages_are_on_one_line() -> None:
    names = {"\x1b[31mred\n.csv": CSV, "b.csv": CSV}
    found = fault(zipped(names))
    assert "\\x1b[31mred\\n.csv, b.csv" in found
    assert found.isprintable()
    inner = fault(zipped({"\n.csv": b"{}"}))
    assert inner.isprintable()


def test_member_without_a_name_is_passed_over() -> None:
    content = bytearray(zipped({"a": b"", "b.csv": CSV}))
    entry = content.find(b"PK\x01\x02")
    content[entry + 46] = 0  # zipfile cuts names at a zero byte
    content[content.find(b"a", 30)] = 0
    assert ids(bytes(content)) == [1, 2]


def test_encrypted_member_is_refused() -> None:
    content = bytearray(zipped({"a.csv": CSV}))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(magic) + at] |= 1
    assert "member a.csv is encrypted: unpack the archive with its password" in fault(
        bytes(content)
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_without_a_limit_is_refused(method: int) -> None:
    name = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}[method]
    assert f"is packed with {name}: pack it with deflate" in fault(zipped({"a.csv": CSV}, method))


def test_truncated_archive_is_refused() -> None:
    content = zipped({"a.csv": CSV * 50})
    for size in (30, len(content) // 2, len(content) - 10):
        assert "damaged zip archive" in fault(content[:size])


def test_long_fault_of_an_archive_is_cut() -> None:
    content = bytearray(zipped({"a.csv": CSV * 50}))
    content[26:28] = (2_000).to_bytes(2, "little")  # the length of the name in the local header
    found = fault(bytes(content))
    assert "File name in directory 'a.csv' and header" in found
    assert len(found) < 300


def test_member_with_a_wrong_checksum_is_refused() -> None:
    content = bytearray(zipped({"a.csv": CSV}, zipfile.ZIP_STORED))
    content[content.find(b"68.5")] = ord("7")
    assert "cannot read: Bad CRC-32" in fault(bytes(content))


def bomb_csv(megabytes: int) -> bytes:
    return (HEADER + "1,0,1,1,W\n").encode() + b"2,0,1,1,W\n" * (megabytes * 100_000)


def test_archive_that_declares_too_much_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "FREE_BYTES", 1_000_000)
    content = zipped({"a.csv": bomb_csv(4)})
    assert "(a.csv): unpacks to 4,000,0" in fault(content)


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_unpacking_stops_at_what_was_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The declared size of an archive is a claim; a gzip file declares none."""
    monkeypatch.setattr(packed, "FREE_BYTES", 1_000_000)
    if kind == "gzip":
        content = gzip.compress(bomb_csv(40))
    else:
        made = bytearray(zipped({"a.csv": bomb_csv(40)}))
        entry = made.find(b"PK\x01\x02")
        made[entry + 24 : entry + 28] = (900_000).to_bytes(4, "little")  # the unpacked size
        content = bytes(made)
    tracemalloc.start()
    try:
        found = fault(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "unpacks to" in found or "Bad CRC-32" in found
    assert peak < 40_000_000 / 2


def test_list_of_members_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 100_000)
    content = zipped({f"{i:05}.csv": b"" for i in range(4_000)})
    assert "lists too many members" in fault(content)


def test_pipe_with_an_archive_is_refused(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, zipped({"a.csv": CSV}))
    os.close(writer)
    with pytest.raises(UnusableFileError, match="cannot be read from a pipe"):
        list(read_transactions(os.fdopen(reader, "rb")))


def test_pipe_with_a_csv_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, CSV)
    os.close(writer)
    (chunk,) = read_transactions(os.fdopen(reader, "rb"))
    assert chunk.batch.ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (CSV.decode().encode("utf-16"), "UTF-16 text"),
        (CSV.decode().encode("utf-16-le"), "UTF-16 text"),
        (CSV.decode().encode("utf-16-be"), "UTF-16 text"),
        (CSV.decode().encode("utf-32"), "UTF-32 text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook (.xls)"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page, perhaps an error page"),
        (b"\xef\xbb\xbf\n <html>", "an HTML page"),
        (b'<?xml version="1.0"?><Error/>', "XML, perhaps an error page"),
        (b'{"TransactionID": 1}\n', "JSON"),
        (b'[{"TransactionID": 1}]', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"BZh91AY&SY", "packed with bzip2: unpack it first"),
        (b"\xfd7zXZ\x00\x00", "packed with xz"),
        (b"\x28\xb5\x2f\xfd\x00", "packed with zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"ARROW1\x00\x00", "an Arrow (Feather) file"),
        (b"a.csv".ljust(257, b"\x00") + b"ustar\x0000", "a tar archive"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"\x80\x04\x95\x00", "a Python pickle, which is never loaded"),
    ],
)
def test_what_is_no_table_is_named(content: bytes, what: str) -> None:
    assert f"this is {what}" in fault(content)
    assert f"this is {what}" in fault(gzip.compress(content))


def test_header_that_only_resembles_another_kind_is_read() -> None:
    for name in ("ORCA", "BZ", "version", "PAR"):
        (chunk,) = read(CSV.replace(b"ProductCD", name.encode()))
        assert len(chunk.batch) == 2
