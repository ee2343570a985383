"""``/api/v1/export.csv`` and ``.jsonl``: the list with its filters, streamed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from dashboard.cache.flag import Position
from dashboard.cache.reading import Listing, read_page
from dashboard.cases.events import EXPORT
from dashboard.masking import NO_MASK  # who may export sees all fields
from dashboard.web.cases.answers import act, who_acts
from dashboard.web.listing import (
    LISTING_PARAMETERS,
    encode_rows,
    forbid_unknown,
    listing_query,
    read_listing,
)
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import DECIDERS

router = APIRouter(prefix="/api/v1", tags=["desk"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_PAGE: Final = 500
_COST: Final = 60  # an export reads up to all rows: as much as the actions of some seconds
_FLAG_COLUMNS: Final = (
    "id", "transaction_id", "score", "risk", "decision", "review_threshold", "block_threshold",
    "model_version", "scored_at", "event_time", "amount", "expected_loss", "product", "card",
)  # fmt: skip
_CASE_COLUMNS: Final = ("status", "label", "decided_by", "decided_at", "note", "external")
_TIMES: Final = frozenset({"scored_at", "event_time", "decided_at"})
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_RESPONSES: Final = problem_responses(
    s400="unknown or repeated parameter",
    s403="EXPORT_ENABLED=false, or this user's role may not export",
    s429="more actions than DASHBOARD_ACTIONS_PER_MINUTE",
    s422="a value is out of range",
)


@router.get(
    "/export.csv",
    summary="Export the list as CSV",
    response_model=None,
    responses={200: {"content": {"text/csv": {}}}, **_RESPONSES},
)
async def export_csv(request: Request, parts: PartsOf) -> Response:
    """The same filters as /flags. A text that a spreadsheet would run as a formula gets a ``'``."""
    listing = await _begin(request, parts, "csv")
    return StreamingResponse(
        _csv(parts, listing), media_type="text/csv; charset=utf-8", headers=_attachment("csv")
    )


@router.get(
    "/export.jsonl",
    summary="Export the list as JSON lines",
    response_model=None,
    responses={200: {"content": {"application/jsonl": {}}}, **_RESPONSES},
)
async def export_jsonl(request: Request, parts: PartsOf) -> Response:
    """The same filters as /flags, one object a line, with its case."""
    listing = await _begin(request, parts, "jsonl")
    return StreamingResponse(
        _jsonl(parts, listing), media_type="application/jsonl", headers=_attachment("jsonl")
    )


async def _begin(request: Request, parts: Parts, kind: str) -> Listing:
    """Check role, switch and filters, and write the event to the audit log."""
    who = who_acts(request, parts, DECIDERS, cost=_COST)
    if not parts.settings.export_enabled:
        raise Problem(
            403, "exports are switched off (EXPORT_ENABLED=false)", kind="export-disabled"
        )
    forbid_unknown(request, LISTING_PARAMETERS)
    listing = read_listing(parts, request.query_params, who.name, mask=NO_MASK)
    details = {"format": kind, "query": listing_query(listing)}
    await act(parts, lambda: parts.desk.record(EXPORT, who, details))
    return listing


def _attachment(kind: str) -> dict[str, str]:
    name = f"flagged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{kind}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _csv(parts: Parts, listing: Listing) -> Iterator[bytes]:
    yield _row([*_FLAG_COLUMNS, *_CASE_COLUMNS, "reasons"])
    for flag in _flags(parts, listing):
        case = flag["case"]
        cells = [format_cell(name, flag.get(name)) for name in _FLAG_COLUMNS]
        cells += [format_cell(name, case.get(name)) for name in _CASE_COLUMNS]
        reasons = ", ".join(f"{r['feature']}={r['value']}" for r in flag["reasons"])
        yield _row([*cells, format_cell("reasons", reasons)])


def _jsonl(parts: Parts, listing: Listing) -> Iterator[bytes]:
    for flag in _flags(parts, listing):
        yield orjson.dumps(flag) + b"\n"


def _flags(parts: Parts, listing: Listing) -> Iterator[dict[str, Any]]:
    """All flags of a selection with their cases, page by page, so that memory is bounded."""
    after: Position | None = None
    while page := read_page(parts.table, listing, after, _PAGE):
        for body in encode_rows(parts, page, NO_MASK, listing):
            yield orjson.loads(body)
        after = page[-1].position


def _row(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


def _format_time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # a year that the calendar does not have
        return str(milliseconds)


def format_cell(name: str, value: Any) -> str:
    """A value as a cell. A text that begins like a formula gets a quote before it."""
    if value is None:
        return ""
    if name in _TIMES:
        return _format_time(value)
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
