"""What people paste: JSON or CSV, and the cells of the form. Every fault names field and value."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dashboard.explaining.pasted import read_cells, read_pasted
from dashboard.predict_request import MAX_ROWS, InvalidInput, TooManyRows

ROW = {"TransactionAmt": 59.0, "ProductCD": "W"}


def fault(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_pasted(text)
    return caught.value.faults[0].reason


@pytest.mark.parametrize(
    "text",
    [
        '{"TransactionAmt": 59.0, "ProductCD": "W"}',
        '  [{"TransactionAmt": 59.0, "ProductCD": "W"}]\n',
        '{"transactions": [{"TransactionAmt": 59.0, "ProductCD": "W"}]}',
        '\ufeff{"TransactionAmt": 59.0, "ProductCD": "W"}',
        "TransactionAmt,ProductCD\n59.0,W\n",
        "TransactionAmt;ProductCD\r\n59.0;W\r\n",
        "TransactionAmt\tProductCD\n59.0\tW",
        'isFraud,TransactionAmt,ProductCD,addr1,D2\n1,59,"W",,NaN\n\n',
        " TransactionAmt , ProductCD \n 59.0 , W ",
    ],
)
def test_row_is_read_as_json_and_as_csv(text: str) -> None:
    assert read_pasted(text) == [ROW]


def test_columns_of_csv_get_their_types() -> None:
    text = (
        "TransactionID,TransactionDT,TransactionAmt,card1,card4,id-01,M4\n"
        "2987000,86400.0,1e3,9500,visa,-5,T\n"
    )
    (row,) = read_pasted(text)
    assert row == {"TransactionID": 2_987_000, "TransactionDT": 86_400, "TransactionAmt": 1000.0,
                   "card1": 9500.0, "card4": "visa", "id_01": -5.0, "M4": "T"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing was pasted: paste one JSON object, or a CSV header and a line"),
        ("hello", "the text is neither JSON nor CSV: the first line of CSV must name the columns"),
        (",", "the text is neither JSON nor CSV: the first line of CSV must name the columns"),
        ("59.0,W", "the text is neither JSON nor CSV: the first line of CSV must name the columns"),
        ("TransactionAmt,ProductCD", "the CSV has a header and no line below it"),
        ("TransactionAmt,ProductCD\n59", "the line has 1 values, and the header names 2 columns"),
        ("TransactionAmt,TransactionAmt\n1,2", "the header names TransactionAmt twice"),
        ("TransactionAmount,card1\n1,2",
         "unknown column 'TransactionAmount': did you mean TransactionAmt?"),
        ("TransactionAmt;card1\n59,50;1",
         "TransactionAmt must be a number, not '59,50': write it with a point, not a comma"),
        ("TransactionAmt,card1\nx,1", "TransactionAmt must be a number, not 'x'"),
        ("TransactionAmt,card1\n1_000,1", "TransactionAmt must be a number, not '1_000'"),
        ("TransactionDT,card1\n1.5,1", "TransactionDT must be a whole number, not '1.5'"),
        ('TransactionAmt,card4\n1,"visa', "the text is not CSV: unexpected end of data"),
        ("TransactionAmt,card4\n1," + "x" * 200_000,
         "the text is not CSV: field larger than field limit (131072)"),
        ('{"a": ', "the body is not JSON: unexpected end of data: line 1 column 6 (char 5)"),
        ("[]", "the list has no transactions"),
        ('{"a": "\ud800"}', "the text has half of a character (a lone surrogate)"),
    ],
)  # fmt: skip
def test_wrong_text_gets_a_reason_and_the_way_out(text: str, reason: str) -> None:
    assert fault(text) == reason


def test_faults_of_csv_name_the_row_and_are_limited() -> None:
    text = "TransactionAmt,card1\n1,1\nx,y\n" + "z,z\n" * 900
    with pytest.raises(InvalidInput) as caught:
        read_pasted(text)
    places = [(fault.row, fault.field) for fault in caught.value.faults]
    assert places[:3] == [(1, "TransactionAmt"), (1, "card1"), (2, "TransactionAmt")]
    assert len(caught.value.faults) == 100


@pytest.mark.parametrize(
    "text",
    [
        orjson.dumps([ROW] * (MAX_ROWS + 1)).decode(),
        "TransactionAmt,card1\n" + "1,1\n" * (MAX_ROWS + 1),
    ],
)
def test_too_many_rows_are_refused(text: str) -> None:
    with pytest.raises(TooManyRows):
        read_pasted(text)


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        ({"TransactionAmt": " 59 ", "card1": "", "card4": "  "}, {"TransactionAmt": 59.0}),
        ({"TransactionAmt": "1e308"}, {"TransactionAmt": 1e308}),
        ({"TransactionAmt": "inf"}, {"TransactionAmt": float("inf")}),
        ({"TransactionAmt": "nan"}, {}),
        ({"TransactionDT": "86400"}, {"TransactionDT": 86_400}),
        ({"TransactionDT": "9" * 30}, None),
        ({"TransactionAmt": "\u0661\u0662"}, {"TransactionAmt": 12.0}),
        ({"TransactionDT": "\u0661"}, {"TransactionDT": 1}),
        ({"card4": "\u202evisa\0"}, {"card4": "\u202evisa\0"}),
        ({"TransactionAmt": "x" * 5_000_000}, None),
    ],
)
def test_cells_of_the_form_are_read_or_refused(
    cells: dict[str, str], row: dict[str, Any] | None
) -> None:
    if row is not None:
        assert read_cells(cells) == row
        return
    with pytest.raises(InvalidInput) as caught:
        read_cells(cells)
    assert len(caught.value.summary) < 120
    assert caught.value.faults[0].field == next(iter(cells))
