"""Which columns a file may have, what they are called and which type each is read as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from schemas.contracts import (
    AMOUNT,
    EVENT_TIME,
    ID,
    NUMBER_INDEX,
    TEXT_INDEX,
    TIME,
    TRANSACTION_COLUMNS,
    column_name,
)

LABEL: Final = "isFraud"


ANY_AS_TEXT: Final = pa.large_string()
"""For a column whose values are read from their text, however the file stores them."""


def transaction_type(column: str) -> Any:
    """The Arrow type of a transaction's column or its label; None for an unknown column."""
    if column in NUMBER_INDEX or column == LABEL:
        return pa.float64()
    if column in TEXT_INDEX:
        return pa.string()
    return pa.int64() if column in (ID, TIME, EVENT_TIME) else None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds.

    Attributes:
        subject: the word by which a member of an archive is recognised, such as ``transaction``.
        required: columns that must be there, under their known names.
        known: all columns, to suggest one for a name that is misspelt.
        without: columns that are not read.
        rename: the known name of a column of the file.
        type_of: the Arrow type of a known name: float64, string, int64 or ``ANY_AS_TEXT``. None: an
            unknown column.
    """

    subject: str
    required: tuple[str, ...]
    known: tuple[str, ...] = TRANSACTION_COLUMNS
    without: tuple[str, ...] = ()
    rename: Callable[[str], str] = column_name
    type_of: Callable[[str], Any] = transaction_type


TRANSACTIONS: Final = Layout("transaction", (ID, TIME, AMOUNT))
UNLABELLED: Final = Layout("transaction", (ID, TIME, AMOUNT), without=(LABEL,))
IDENTITY: Final = Layout("identity", (ID,))


@dataclass(slots=True)
class FileFacts:
    """What was found in a file, filled while it is read.

    Attributes:
        format: ``csv``, ``gzip``, ``zip`` or ``parquet``.
        member: the member of a zip archive that was read.
        columns: the columns that were read, under their known names.
        unknown: the names of the columns that were ignored.
        rounded: number columns that the file stores with fewer than 64 bits.
    """

    format: str = "csv"
    member: str | None = None
    columns: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rounded: list[str] = field(default_factory=list)
