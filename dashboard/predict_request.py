"""The request of ``/predict``: reads its body, and says how to fix what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final, NamedTuple

from schemas.contracts import TRANSACTION_COLUMNS
from schemas.json.codec import MAX_FAULTS, parse_json, shown_name

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_ROWS: Final = 1000
"""1,000 full transactions are 8 MB of JSON and take some tens of milliseconds to score."""

SHAP: Final = "shap"
PATH: Final = "path"
MAX_SHAP_ROWS: Final = 10
"""Exact TreeSHAP takes up to 0.4 s per row with a large model."""

MAX_PATH_ROWS: Final = 100
"""The explanation of a row is up to 5 kB of JSON."""

WRAP: Final = 'send {"transactions": [{…}]}'
FIELD_RULE: Final = (
    "the stream ignores unknown fields; /predict refuses them, so that a misspelt name is noticed"
)

_MEMBERS: Final = ("transactions", "explain")
_MAX_EXPLAINED: Final = {SHAP: MAX_SHAP_ROWS, PATH: MAX_PATH_ROWS}
_MAX_BRACKETS: Final = 100 * MAX_ROWS
"""Opening brackets that a body may contain. A request needs one per row, and strings rarely contain
any. Millions of empty objects would keep the garbage collector busy for seconds, and all threads
would wait for it."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SIGNATURES: Final = {
    b"\x1f\x8b": "compressed with gzip: add the header Content-Encoding: gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: send gzip, or no compression",
    b"\xff\xfe": "UTF-16: send UTF-8",
    b"\xfe\xff": "UTF-16: send UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32: send UTF-8",
    b"{\x00": "UTF-16 or UTF-32: send UTF-8",
    b"\x00{": "UTF-16: send UTF-8",
    b"\x00\x00\x00{": "UTF-32: send UTF-8",
}
"""First bytes of a body that is not JSON in UTF-8, and what it is instead."""

_HALF_CHARACTER: Final = "half of a character (a surrogate such as \\ud83d without its other half)"
_MAX_HINTS: Final = 5  # of the faults of a request; finding a similar name takes a millisecond
_UNKNOWN: Final = "unknown field "


class InputFault(NamedTuple):
    """One fault of a request. ``row`` counts from 0. It is None for the request itself."""

    row: int | None
    field: str | None
    reason: str


class InvalidInput(Exception):
    """The request is not valid. None of its rows was scored."""

    def __init__(self, faults: Sequence[InputFault]) -> None:
        super().__init__(faults[0].reason)
        self.faults = tuple(_with_hints(faults[:MAX_FAULTS]))

    @property
    def summary(self) -> str:
        """One line: the first fault with its row, how many more there are, and the rule if any."""
        first, others = self.faults[0], len(self.faults) - 1
        where = "" if first.row is None else f"row {first.row}: "
        least = "at least " if len(self.faults) >= MAX_FAULTS else ""  # validation stops there
        more = f" (and {least}{others} more)" if others else ""
        has_unknown = any(_is_unknown(fault) for fault in self.faults)
        return f"{where}{first.reason}{more}{f'; {FIELD_RULE}' if has_unknown else ''}"


class TooManyRows(Exception):
    """The request has more transactions than allowed."""


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a request asks for; its rows are not checked yet.

    Attributes:
        rows: the values in ``transactions``.
        explain: ``shap``, ``path``, or None for the reasons of flagged transactions alone.
    """

    rows: list[object]
    explain: str | None


def read_request(body: bytes) -> PredictRequest:
    """Read the body of a request.

    Raises:
        InvalidInput: it is not JSON, not an object with transactions, or has unknown members.
        TooManyRows: it has more than ``MAX_ROWS`` transactions.
    """
    request = parse_body(body)
    if not isinstance(request, dict) or "transactions" not in request:
        raise InvalidInput([_wrap_fault(request)])
    unknown = (shown_name(name) for name in request if name not in _MEMBERS)
    faults = [
        InputFault(None, name, f"unknown member {name!r} of the request: {WRAP}, and maybe explain")
        for name in islice(unknown, MAX_FAULTS)
    ]
    rows = request["transactions"]
    if not isinstance(rows, list):
        why = f"transactions must be an array: {WRAP}"
        faults.append(InputFault(None, "transactions", why))
    elif not rows:
        faults.append(InputFault(None, "transactions", "transactions is empty"))
    elif len(rows) > MAX_ROWS:
        raise TooManyRows
    explain = request.get("explain")
    count = len(rows) if isinstance(rows, list) else 0
    if (reason := _explain_fault(explain, count)) is not None:
        faults.append(InputFault(None, "explain", reason))
    if faults:
        raise InvalidInput(faults)
    return PredictRequest(rows, explain)


def parse_body(body: bytes) -> object:
    """Parse JSON in UTF-8, with or without a byte order mark.

    Raises:
        InvalidInput: the body is something else; the message says what, if that is known.
    """
    if body.count(b"{") + body.count(b"[") > _MAX_BRACKETS:
        why = f"the body has more objects and arrays than {MAX_ROWS:,} transactions need"
        raise InvalidInput([InputFault(None, None, why)])
    body = body.removeprefix(_BYTE_ORDER_MARK)
    if not body.strip():
        raise InvalidInput([InputFault(None, None, f"the body is empty: {WRAP}")])
    for start, what in _SIGNATURES.items():
        if body.startswith(start):
            raise InvalidInput([InputFault(None, None, f"the body is {what}")])
    try:
        return parse_json(body)
    except ValueError as error:
        why = str(error).replace("no low surrogate in string", _HALF_CHARACTER)
        raise InvalidInput([InputFault(None, None, f"the body is not JSON: {why}")]) from None


def _wrap_fault(request: object) -> InputFault:
    """How to wrap a body that has no transactions."""
    if isinstance(request, list):
        why = 'the body is an array: wrap it in an object, {"transactions": […]}'
        return InputFault(None, None, why)
    if not isinstance(request, dict):
        return InputFault(None, None, f"the body is neither object nor array: {WRAP}")
    if any(name in TRANSACTION_COLUMNS for name in islice(request, MAX_FAULTS)):
        why = (
            "transactions is missing: the body looks like one transaction; wrap it, "
            '{"transactions": [{…}]}'
        )
        return InputFault(None, "transactions", why)
    return InputFault(None, "transactions", f"transactions is missing: {WRAP}")


def _explain_fault(explain: Any, rows: int) -> str | None:
    if explain is None:
        return None
    if not isinstance(explain, str) or explain not in _MAX_EXPLAINED:
        return 'explain must be "shap", "path" or absent'
    if rows > _MAX_EXPLAINED[explain]:
        return f'explain "{explain}" accepts at most {_MAX_EXPLAINED[explain]} transactions'
    return None


def _is_unknown(fault: InputFault) -> bool:
    return fault.row is not None and fault.reason.startswith(_UNKNOWN)


def _with_hints(faults: Sequence[InputFault]) -> list[InputFault]:
    """Unknown fields with the most similar known one."""
    hinted = list(faults)
    unknown = (i for i, fault in enumerate(faults) if _is_unknown(fault))
    for i in islice(unknown, _MAX_HINTS):
        if similar := similar_column(faults[i].field or ""):
            hinted[i] = faults[i]._replace(reason=f"{faults[i].reason}: did you mean {similar}?")
    return hinted


def similar_column(name: str) -> str | None:
    """The column whose name is most like ``name``, capitals aside; None if none is like it."""
    lower = _lower_columns()
    found = get_close_matches(name.lower(), lower, n=1)
    return lower[found[0]] if found else None


def _lower_columns() -> Mapping[str, str]:
    return {column.lower(): column for column in TRANSACTION_COLUMNS}
