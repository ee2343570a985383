"""The fields of the check page's form, and what a person sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from dashboard.predict_request import PATH, SHAP, InputFault, InvalidInput, similar_column
from schemas.contracts import AMOUNT, NUMBER_INDEX, TIME

FIELDS: Final = "fields"
ROW: Final = "row"

MAX_SHOWN_CHARS: Final = 200_000
"""A longer text is not sent back into the form."""

_OWN: Final = ("from", "row", "explain")
_MAX_CELL_CHARS: Final = 300  # of a cell that is shown in the form again


class Entry(NamedTuple):
    """One input of the form, for a column of the transaction."""

    column: str
    label: str
    choices: tuple[str, ...] = ()
    is_number: bool = True
    is_required: bool = False


class Group(NamedTuple):
    """Inputs under one title; some are collapsed until one of them has a value."""

    title: str
    entries: tuple[Entry, ...]
    is_collapsed: bool = False


def _texts(*entries: tuple[str, str, tuple[str, ...]]) -> tuple[Entry, ...]:
    return tuple(
        Entry(column, label, choices, is_number=False) for column, label, choices in entries
    )


def _numbered(prefix: str, count: int) -> tuple[Entry, ...]:
    return tuple(Entry(f"{prefix}{i}", f"{prefix}{i}") for i in range(1, count + 1))


_NETWORKS: Final = ("visa", "mastercard", "discover", "american express")
_DOMAINS: Final = ("gmail.com", "yahoo.com", "hotmail.com", "anonymous.com", "outlook.com")

GROUPS: Final = (
    Group(
        "Transaction",
        (
            Entry(AMOUNT, "Amount", is_required=True),
            *_texts(("ProductCD", "Product", ("W", "C", "R", "H", "S"))),
        ),
    ),
    Group(
        "Card",
        (
            Entry("card1", "card1"),
            Entry("card2", "card2"),
            Entry("card3", "card3"),
            Entry("card5", "card5"),
            *_texts(
                (
                    "card4",
                    "Network (card4)",
                    ("visa", "mastercard", "discover", "american express"),
                ),
                ("card6", "Type (card6)", ("debit", "credit")),
            ),
        ),
    ),
    Group(
        "Address and e-mail",
        (
            Entry("addr1", "Billing region (addr1)"),
            Entry("addr2", "Billing country (addr2)"),
            *_texts(
                ("P_emaildomain", "Purchaser's e-mail domain", _DOMAINS),
                ("R_emaildomain", "Recipient's e-mail domain", _DOMAINS),
            ),
        ),
    ),
    Group(
        "Device",
        _texts(
            ("DeviceType", "Type", ("desktop", "mobile")),
            ("DeviceInfo", "Description", ("Windows", "iOS Device", "MacOS")),
        ),
    ),
    Group("Counts, C1 to C14", _numbered("C", 14), is_collapsed=True),
    Group("Days, D1 to D15", _numbered("D", 15), is_collapsed=True),
    Group(
        "Time",
        (Entry(TIME, "Seconds since the start of the data (TransactionDT)"),),
        is_collapsed=True,
    ),
)
COLUMNS: Final = {entry.column: entry for group in GROUPS for entry in group.entries}


@dataclass(frozen=True, slots=True)
class CheckForm:
    """What a person sent, or what a page is filled in with.

    Attributes:
        mode: ``fields`` or ``row``.
        cells: text by column.
        row: the pasted text.
        explain: ``path`` or ``shap``.
        note: where the values come from, if not from the person.
    """

    mode: str = FIELDS
    cells: Mapping[str, str] = field(default_factory=dict)
    row: str = ""
    explain: str = PATH
    note: str = ""

    @property
    def shown_cells(self) -> dict[str, str]:
        """The cells for the form; what is too long for an input is left out."""
        return {name: text for name, text in self.cells.items() if len(text) <= _MAX_CELL_CHARS}

    @property
    def shown_row(self) -> str:
        """The pasted text, unless it is too long to be sent back."""
        return self.row if len(self.row) <= MAX_SHOWN_CHARS else ""

    def is_open(self, group: Group) -> bool:
        """Whether a group is shown unfolded: one of its fields has a value."""
        return any(self.cells.get(entry.column) for entry in group.entries)


def read_form(body: bytes) -> CheckForm:
    """The form in the body of a request.

    Raises:
        InvalidInput: it is not this form; the message names the field.
    """
    most = len(COLUMNS) + len(_OWN)
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=most
        )
    except UnicodeDecodeError:
        raise InvalidInput([InputFault(None, None, "the form is not UTF-8")]) from None
    except ValueError:
        why = f"the form has more than {most} fields: paste a row instead"
        raise InvalidInput([InputFault(None, None, why)]) from None
    given: dict[str, str] = {}
    faults: list[InputFault] = []
    for name, text in pairs:
        shown = name[:40]
        if name in given:
            faults.append(InputFault(None, shown, f"{shown} was sent twice"))
        elif name not in COLUMNS and name not in _OWN:
            similar = similar_column(shown)
            hint = f": did you mean {similar}?" if similar else ": paste a row for other columns"
            faults.append(InputFault(None, shown, f"the form has no field {shown!r}{hint}"))
        given[name] = text
    mode, explain = given.get("from", FIELDS), given.get("explain") or PATH
    if mode not in (FIELDS, ROW):
        faults.append(InputFault(None, "from", 'from must be "fields" or "row"'))
    if explain not in (PATH, SHAP):
        faults.append(InputFault(None, "explain", 'explain must be "path" or "shap"'))
    if faults:
        raise InvalidInput(faults)
    cells = {name: text for name, text in given.items() if name in COLUMNS and text.strip()}
    return CheckForm(mode, cells, given.get("row", ""), explain)


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """A transaction's values as the texts of the form; columns that it lacks are left out."""
    return {
        name: _text(name, value)
        for name, value in row.items()
        if name in COLUMNS and value is not None
    }


def _text(column: str, value: Any) -> str:
    if column in NUMBER_INDEX and isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    return str(value)
