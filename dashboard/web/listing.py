"""Reads pages of flagged transactions, for the API and the HTML pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import Request

from dashboard.cache.flag import FlagKey
from dashboard.cache.flag_table import read_page
from dashboard.cache.selection import Selection
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from dashboard.web.sealing import Sealer

MAX_LIMIT: Final = 200
_INT64_MAX: Final = 2**63 - 1
_INT64_DIGITS: Final = len(str(_INT64_MAX))
_MAX_PRODUCT_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list: encoded JSON objects, and the cursor of the next page if any."""

    bodies: list[bytes]
    next_cursor: str | None
    as_of_seq: str

    def items(self) -> list[dict[str, Any]]:
        """The decoded objects."""
        return [orjson.loads(body) for body in self.bodies]

    def as_json(self) -> bytes:
        """The API's response. The stored objects are not decoded."""
        tail = orjson.dumps({"next_cursor": self.next_cursor, "as_of_seq": self.as_of_seq})
        return b'{"items":[' + b",".join(self.bodies) + b"]," + tail[1:]


def fetch_page(parts: Parts, selection: Selection, cursor: str | None, limit: int) -> Page:
    """A page of a selection, newest first.

    Raises:
        Problem: 400, the cursor is not valid or belongs to another selection.
    """
    # Taken before the rows are read, so that the stream may repeat a row but never miss one.
    as_of = parts.hub.event_id
    after = open_cursor(parts.sealer, selection, cursor) if cursor else None
    found = read_page(parts.table, selection, after, limit + 1)
    page = found[:limit]
    more = seal_cursor(parts.sealer, selection, page[-1][0]) if len(found) > limit else None
    return Page([body for _, body in page], more, as_of)


def seal_cursor(sealer: Sealer, selection: Selection, key: FlagKey) -> str:
    """An opaque cursor that continues after ``key``, in this selection only."""
    return sealer.seal(_purpose(selection), list(key))


def open_cursor(sealer: Sealer, selection: Selection, cursor: str) -> FlagKey:
    """The key a cursor continues after.

    Raises:
        Problem: 400, the cursor is not valid for this selection.
    """
    key = sealer.unseal(_purpose(selection), cursor)
    if key is None:
        raise Problem(
            400,
            "the cursor is not valid for these filters: use next_cursor with the same filters, "
            "or start without a cursor",
            errors=[{"field": "cursor", "reason": "not valid for these filters"}],
        )
    return FlagKey(*key)


def forbid_unknown(request: Request, known: frozenset[str]) -> None:
    """Reject unknown and repeated query parameters instead of ignoring them.

    Raises:
        Problem: 400, with each such parameter.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    faults = [
        {"field": name, "reason": "unknown query parameter" if name not in known else "given twice"}
        for name in dict.fromkeys(names)
        if name not in known or names.count(name) > 1
    ]
    if faults:
        raise Problem(
            400,
            f"{faults[0]['reason']}: {faults[0]['field'][:40]!r} "
            f"(known: {', '.join(sorted(known))})",
            errors=faults,
        )


def parse_selection(query: Mapping[str, str]) -> Selection:
    """The selection in a page's query string. Empty parameters are ignored.

    Raises:
        Problem: 422, with each invalid parameter.
    """
    faults: list[dict[str, str]] = []
    bounds: dict[str, float | None] = {}
    for name in ("min_score", "max_score"):
        text = query.get(name, "").strip()
        bounds[name] = _parse_score(text)
        if text and bounds[name] is None:
            faults.append({"field": name, "reason": "must be a number from 0 to 1"})
    product = query.get("product", "").strip() or None
    if product is not None and len(product) > _MAX_PRODUCT_CHARS:
        reason = f"must have at most {_MAX_PRODUCT_CHARS} characters"
        faults.append({"field": "product", "reason": reason})
    wanted = query.get("transaction_id", "").strip()
    if wanted and not _is_int64(wanted):
        faults.append({"field": "transaction_id", "reason": "must be a whole number"})
    if faults:
        summary = f"invalid {faults[0]['field']}: {faults[0]['reason']}"
        raise Problem(422, summary, errors=faults)
    return Selection(
        bounds["min_score"], bounds["max_score"], product, int(wanted) if wanted else None
    )


def _is_int64(text: str) -> bool:
    # Python refuses to parse an int with thousands of digits.
    is_short = text.isascii() and text.isdigit() and len(text) <= _INT64_DIGITS
    return is_short and int(text) <= _INT64_MAX


def _parse_score(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None


def _purpose(selection: Selection) -> str:
    return f"cursor?{selection.query()}"
