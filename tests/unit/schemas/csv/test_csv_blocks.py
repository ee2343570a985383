"""Blocks of whole CSV rows: where they may end, and what is left behind when a reader gives up."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pytest
from pyarrow import csv

from schemas.csv.blocks import LongRowError, OpenQuoteError, line_ends, row_blocks
from schemas.csv.codec import read_transactions
from schemas.csv.layout import TRANSACTIONS
from schemas.csv.source import read_rows
from schemas.errors import UnusableFileError

HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,C1\n"
CELLS = ("", "a", 'a"b', '"a,b"', '"a\nb"', '"a""b"', '""', '"a"b', ' "a"', 'b"', '"a\r\n""b"')


def parse(content: bytes) -> list[dict[str, object]]:
    table = csv.read_csv(
        pa.BufferReader(content),
        csv.ReadOptions(column_names=["x", "y"], block_size=1 << 20, use_threads=False),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(column_types={"x": pa.string(), "y": pa.string()}),
    )
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


@pytest.mark.parametrize("seed", range(30))
def test_blocks_are_the_rows_of_arrows_own_parser(seed: int) -> None:
    rng = random.Random(seed)
    ending = rng.choice(("\n", "\r\n"))
    rows = [f"{rng.choice(CELLS)},{rng.choice(CELLS)}" for _ in range(60)]
    content = (ending.join(rows) + rng.choice(("", ending))).encode()
    blocks = list(row_blocks(io.BytesIO(content), rng.randint(24, 90)))
    assert b"".join(blocks) == content
    assert len(blocks) > 5
    assert [row for block in blocks for row in parse(block)] == parse(content)


@pytest.mark.parametrize(
    ("block", "inside"),
    [
        (b"a\nb\n", [False, False]),
        (b'"a\nb"\n', [True, False]),
        (b'x"a\nb"\n', [False, False]),  # the quote is text
        (b'x"a,"b\n"\n', [False, True][::-1]),
        (b'"a""\n"\n', [True, False]),
        (b'x"\n"a\n', [False, True]),  # the cell does not end in this block
        (b'x"\n"a""\n', [False, True]),
        (b'"a"b"\n', [False]),
    ],
)
def test_newline_is_inside_a_cell_only_if_the_cell_begins_with_a_quote(
    block: bytes, inside: list[bool]
) -> None:
    assert line_ends(block)[1].tolist() == inside


def test_lines_may_end_with_a_carriage_return_alone() -> None:
    blocks = list(row_blocks(io.BytesIO(b"1,2\r3,4\r5,6\r7,8"), 6))
    assert [row["x"] for block in blocks for row in parse(block)] == ["1", "3", "5", "7"]


def test_stream_may_return_less_than_asked_for() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    assert b"".join(row_blocks(Slow(b"1,2\n3,4\n"), 6)) == b"1,2\n3,4\n"


def test_row_that_does_not_fit_is_named_with_its_line() -> None:
    with pytest.raises(LongRowError):
        list(row_blocks(io.BytesIO(b'1,2\n"' + b"x" * 99), 20))
    rows = b'1,0,2,3,W,4,1\n\n2,0,2,3,"' + b"x" * 500
    with pytest.raises(UnusableFileError, match=r"line 4: the row is longer than 200 bytes"):
        list(read_rows(io.BytesIO(HEADER.encode() + rows), TRANSACTIONS, block_bytes=200))


@pytest.mark.parametrize("block_bytes", [60, 1 << 20])
@pytest.mark.parametrize(
    ("before", "line"), [("", 2), ("1,0,2,3,W,4,1\n\n" * 9, 20), ('1,0,2,3,"W\n",4,1\n' * 3, 8)]
)
def test_rows_after_a_quote_that_is_not_closed_are_not_lost(
    before: str, line: int, block_bytes: int
) -> None:
    rest = '2,0,2,3,W,4,"1\n' + "3,0,2,3,W,4,1\n" * 2
    content = io.BytesIO((HEADER + before + rest).encode())
    with pytest.raises(UnusableFileError, match=rf"line {line}: a cell begins with a quotation"):
        list(read_rows(content, TRANSACTIONS, block_bytes=block_bytes))


@pytest.mark.parametrize(
    "block",
    [b'"a', b'1,"', b'1,"a""', b'x"y,"a', b'1,"a"\n2,"b\n3,c\n', b'1,"a" "\n2,"'],
)
def test_open_quote_is_found(block: bytes) -> None:
    with pytest.raises(OpenQuoteError):
        list(row_blocks(io.BytesIO(block), 1000))


@pytest.mark.parametrize("block", [b"", b'x"', b'x"y\n', b'""', b'1,"a""b"\n', b'1,"a"b"\n'])
def test_quote_that_is_text_or_closed_is_no_fault(block: bytes) -> None:
    assert b"".join(row_blocks(io.BytesIO(block), 1000)) == block


def test_block_of_blank_lines_has_no_rows() -> None:
    content = HEADER + "1,0,2,3,W,4,1\n" + "\n" * 300 + "2,0,2,3,W,x,1\n"
    with pytest.raises(UnusableFileError, match="line 303, column card1"):
        list(read_rows(io.BytesIO(content.encode()), TRANSACTIONS, block_bytes=100))


def test_many_files_that_are_given_up_do_not_stop_the_next_one() -> None:
    """Arrow's streaming reader kept a thread of its pool for each of them."""
    good = "1,0,86400,68.5,W,13926,1\n" * 400
    for _ in range(60):
        with pytest.raises(UnusableFileError, match="line 402"):
            list(
                read_rows(
                    io.BytesIO((HEADER + good + "x,y\n" + good).encode()),
                    TRANSACTIONS,
                    block_bytes=1000,
                )
            )
        next(iter(read_rows(io.BytesIO((HEADER + good).encode()), TRANSACTIONS, block_bytes=1000)))
    (chunk,) = read_transactions(io.BytesIO((HEADER + good).encode()))
    assert len(chunk.batch) == 400
