"""What the cells, names and lines of a CSV mean."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import numpy as np
import pytest

from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from schemas.csv.blocks import row_blocks
from schemas.csv.codec import CsvChunk, read_transactions
from schemas.csv.lines import LineCounter
from schemas.errors import UnusableFileError

HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,C1\n"


def read(text: str, *, has_labels: bool = True) -> CsvChunk:
    (chunk,) = read_transactions(io.BytesIO(text.encode()), has_labels=has_labels)
    return chunk


def fault(text: str) -> str:
    with pytest.raises(UnusableFileError) as error:
        read(text)
    return str(error.value)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "NA",
        "na",
        "N/A",
        "n/a",
        "NaN",
        "nan",
        "NAN",
        "None",
        "NULL",
        "null",
        "<NA>",
        "  ",
        " NA ",
    ],
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_words_for_missing_mean_the_same_in_every_column(word: str, quote: str) -> None:
    cell = f"{quote}{word}{quote}"
    batch = read(HEADER + f"1,0,2,3,{cell},{cell},1\n").batch
    assert batch.string(0, TEXT_INDEX["ProductCD"]) is None
    assert np.isnan(batch.numbers[0, NUMBER_INDEX["card1"]])


@pytest.mark.parametrize("word", ["NAB", "nothing", "nano", "0", "-"])
def test_other_words_are_values(word: str) -> None:
    assert read(HEADER + f"1,0,2,3,{word},4,1\n").batch.row(0)["ProductCD"] == word


def test_blanks_around_values_are_ignored() -> None:
    row = read(HEADER + '1 ,0, 2,3 , W ,\t4 ,1\n2,0,2,3,"  a b ",4,1\n').batch
    assert row.ids.tolist() == [1, 2]
    assert [row.row(i)["ProductCD"] for i in range(2)] == ["W", "a b"]
    assert row.row(0)["card1"] == 4.0


def test_names_are_read_without_blanks_and_a_byte_order_mark() -> None:
    header = '\ufeff TransactionID , TransactionDT," TransactionAmt", card1,\u00a0ProductCD\n'
    row = read(header + "1,2,3,4,W\n").batch.row(0)
    assert (row["TransactionID"], row["card1"], row["ProductCD"]) == (1, 4.0, "W")


@pytest.mark.parametrize("name", ["TransactionId", "transaction_id", "TransactionIDs"])
def test_name_that_is_almost_right_is_suggested(name: str) -> None:
    found = fault(HEADER.replace("TransactionID", name) + "1,0,2,3,W,4,1\n")
    assert f"{name!r} should be 'TransactionID'" in found


def test_unknown_column_that_is_almost_right_is_suggested(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read("TransactionID,TransactionDT,TransactionAmt,Card1,colour,product_cd\n1,2,3,4,5,6\n")
    (record,) = caplog.records
    message = record.getMessage()
    assert "Card1 (did you mean card1?), colour, product_cd (did you mean ProductCD?)" in message


@pytest.mark.parametrize("text", ["2987000.0", "2987000.", "2987000", "+2987000.000"])
def test_whole_number_with_a_fraction_of_zeros_is_an_integer(text: str) -> None:
    batch = read(HEADER + f"{text},0,86400.0,3,W,4,1\n").batch
    assert (batch.ids[0], batch.times[0]) == (2_987_000, 86_400)


def test_large_id_keeps_all_its_digits() -> None:
    assert read(HEADER + f"{2**63 - 1}.0,0,1,3,W,4,1\n").batch.ids[0] == 2**63 - 1


@pytest.mark.parametrize("text", ["2987000.5", "1e3", "0x10", str(2**63), "1.0.0"])
def test_id_that_is_not_whole_is_refused_with_its_line(text: str) -> None:
    found = fault(HEADER + f"1,0,2,3,W,4,1\n{text},0,2,3,W,4,1\n")
    assert f"line 3, column TransactionID: '{text}' is not an integer" in found


@pytest.mark.parametrize("seconds", [-1, 1_796_000_000_000])
def test_implausible_time_is_refused_with_its_line(seconds: int) -> None:
    found = fault(HEADER + f"1,0,2,3,W,4,1\n1,0,{seconds},3,W,4,1\n")
    assert f"line 3, column TransactionDT: TransactionDT is {seconds}" in found


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ("4,0,2,3,W,abc,1", "column card1"),
        ("x,0,2,3,W,4,1", "column TransactionID"),
        ("4,0,2,,W,4,1", "column TransactionAmt: no value"),
        ("4,0,2,inf,W,4,1", "column TransactionAmt: inf"),
        ("4,0,2,3,W", "5 cells"),
    ],
)
def test_line_of_a_fault_is_right_after_line_ends_in_cells_and_blank_lines(
    bad: str, what: str
) -> None:
    rows = '1,0,2,3,"W\n\n""x""\n",4,1\n\n\r\n2,0,2,3,"a\r\nb",4,1\r\n'
    found = fault(HEADER + rows + bad + "\n")
    assert "line 10" in found
    assert what in found


def test_lines_are_those_of_a_plain_parser_whatever_the_blocks() -> None:
    rng = random.Random(5)
    for _ in range(60):
        text, starts, line = "h\n", [], 2
        for _ in range(rng.randint(1, 30)):
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                text += (blank := rng.choice(("\n", "\r\n")))
                line += blank.count("\n")
            starts.append(line)
            cell = "".join(
                rng.choice(("a", "\n", "\r\n", '"', ",")) for _ in range(rng.randint(1, 5))
            )
            quoted = '"' + cell.replace('"', '""') + '"' + rng.choice(("\n", "\r\n"))
            text += quoted
            line += quoted.count("\n")
        stream = io.BytesIO(text.encode())
        stream.readline()
        counter = LineCounter(1)
        for block in row_blocks(stream, rng.randint(26, 60)):
            counter.count(block)
        assert [counter.line(i) for i in range(len(starts))] == starts
        assert len([r for r in csv.reader(io.StringIO(text, newline="")) if r]) == len(starts) + 1


def test_label_that_is_not_needed_may_be_anything() -> None:
    chunk = read(HEADER + "1,maybe,2,3,W,4,1\n", has_labels=False)
    assert chunk.labels is None
    assert chunk.batch.ids.tolist() == [1]
    assert "column isFraud" in fault(HEADER + "1,maybe,2,3,W,4,1\n")


def test_directory_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError, match="Is a directory"):
        list(read_transactions(tmp_path))
