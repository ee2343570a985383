"""``/audit``: who did what and when, as the audit topic records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.cache.times import WAY_OUT, parse_time
from dashboard.cases.state import AuditSelection
from dashboard.web.admin.audit_text import KINDS, describe
from dashboard.web.cases.answers import act
from dashboard.web.cases.records import find_audit
from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import Problem
from dashboard.web.roles import AUDITORS, require_role

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

PAGE_ROWS: Final = 50
_FILTERS: Final = ("by", "kind", "flag", "since", "until")
_PARAMETERS: Final = frozenset({*_FILTERS, "cursor"})
_MAX_CHARS: Final = 300


@router.get("/audit", response_model=None)
async def audit(request: Request, parts: PartsOf) -> Response:
    """A page of the audit log, newest first. For leads and people on call."""
    require_role(request, AUDITORS)
    forbid_unknown(request, _PARAMETERS)
    given = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    given = {name: text for name, text in given.items() if text}
    selection = _selection(given, parts.board.now())
    cursor = request.query_params.get("cursor") or None
    found, more = await find_audit(parts, selection, cursor, PAGE_ROWS)
    desk = await act(parts, parts.desk.status)
    return render_page(
        request,
        "audit.html",
        rows=[describe(entry) for entry in found],
        given=given,
        kinds=KINDS,
        chips=_chips(given),
        cursor=cursor,
        newest=f"/audit?{urlencode(given)}" if given else "/audit",
        older=f"/audit?{urlencode({**given, 'cursor': more})}" if more else None,
        desk=desk,
        **page_state(parts),
    )


def _selection(given: Mapping[str, str], now: int) -> AuditSelection:
    """The selection in the query string.

    Raises:
        Problem: 422, with each fault.
    """
    faults = [
        {"field": name, "reason": f"must have at most {_MAX_CHARS} characters"}
        for name, text in given.items()
        if len(text) > _MAX_CHARS
    ]
    times = {name: parse_time(given[name], now) for name in ("since", "until") if name in given}
    faults += [{"field": n, "reason": WAY_OUT} for n, found in times.items() if found is None]
    if faults:
        first = faults[0]
        raise Problem(422, f"invalid {first['field']}: {first['reason']}", errors=faults)
    return AuditSelection(
        given.get("kind"),
        given.get("by"),
        given.get("flag"),
        times.get("since"),
        times.get("until"),
    )


def _chips(given: Mapping[str, str]) -> list[dict[str, str]]:
    """The active filters, each with the address of the page without it."""
    labels = {"by": "By ", "kind": "", "flag": "Transaction ", "since": "Since ", "until": "Until "}
    return [
        {
            "text": labels[name] + (KINDS.get(text, text) if name == "kind" else text),
            "without": f"/audit?{urlencode({n: t for n, t in given.items() if n != name})}",
        }
        for name, text in given.items()
    ]
