"""The transaction's columns as a program names them: kinds, ranges, and words for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from schemas.contracts import (
    AMOUNT,
    NUMBER_COLUMNS,
    NUMBER_INDEX,
    TEXT_COLUMNS,
    TEXT_INDEX,
    TRANSACTION_COLUMNS,
)
from stream_scorer.features.operations.reading import shown

RANGE: Final = ".."

_LONGEST: Final = 100  # of a name for which a similar one is looked for
_PLACES: Final = {name: i for i, name in enumerate(TRANSACTION_COLUMNS)}
_NAMED: Final = {
    AMOUNT: "amount of the transaction",
    "ProductCD": "product code",
    "card4": "card network (card4)",
    "card6": "card type, debit or credit (card6)",
    "addr1": "billing region (addr1)",
    "addr2": "billing country (addr2)",
    "P_emaildomain": "e-mail domain of the purchaser",
    "R_emaildomain": "e-mail domain of the recipient",
    "DeviceType": "type of the device",
    "DeviceInfo": "description of the device",
    "id_30": "operating system (id_30)",
    "id_31": "browser (id_31)",
    "id_33": "screen resolution (id_33)",
}
_FAMILIES: Final = (
    (r"card\d+", "attribute of the card ({0})"),
    (r"dist\d+", "distance ({0})"),
    (r"C\d+", "count ({0})"),
    (r"D\d+", "days since an earlier event ({0})"),
    (r"M\d+", "whether details match ({0})"),
    (r"V\d+", "indicator of the payment provider ({0})"),
    (r"id_\d+", "attribute of the identity ({0})"),
)
"""The data set's publisher explains its columns only so far."""


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    TEXT = "text"


class ColumnFault(ValueError):
    """A column that cannot be used; ``column`` is what the program says."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(why)
        self.column = column


def kind_of(column: str) -> Kind:
    """The kind of a column that exists."""
    return Kind.NUMBER if column in NUMBER_INDEX else Kind.TEXT


def describe_column(column: str) -> str:
    """The column in words, with its name."""
    for pattern, words in _FAMILIES:
        if column not in _NAMED and re.fullmatch(pattern, column):
            return words.format(column)
    return _NAMED.get(column, column)


def expand(items: Sequence[str], kinds: Sequence[Kind]) -> tuple[str, ...]:
    """Names and ranges as single columns.

    ``first..last`` is every column of the transaction's schema from ``first`` to ``last``.

    Raises:
        ColumnFault: a column does not exist, is of another kind, or occurs twice.
    """
    found: dict[str, None] = {}
    for item in items:
        for column in _expand(item, kinds):
            if column in found:
                raise ColumnFault(item, f"column {column} occurs twice")
            found[column] = None
    return tuple(found)


def _expand(item: str, kinds: Sequence[Kind]) -> Sequence[str]:
    first, dots, last = item.partition(RANGE)
    for column in (first, last) if dots else (first,):
        _check_exists(item, column)
    if not dots:
        _check_kind(item, first, kinds)
        return [first]
    if _PLACES[first] > _PLACES[last]:
        raise ColumnFault(item, f"{first} comes after {last} in the transaction's schema")
    columns = TRANSACTION_COLUMNS[_PLACES[first] : _PLACES[last] + 1]
    for column in columns:
        _check_kind(item, column, kinds)
    return columns


def _check_exists(item: str, column: str) -> None:
    if column in NUMBER_INDEX or column in TEXT_INDEX:
        return
    near = get_close_matches(column[:_LONGEST], (*NUMBER_COLUMNS, *TEXT_COLUMNS), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ColumnFault(item, f"{shown(column)} is not a column that features can use{hint}")


def _check_kind(item: str, column: str, kinds: Sequence[Kind]) -> None:
    if kind_of(column) not in kinds:
        where = f" of the range {item}" if column != item else ""
        raise ColumnFault(item, f"column {column}{where} is {kind_of(column)}, not {kinds[0]}")
