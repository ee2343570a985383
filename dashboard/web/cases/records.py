"""``/api/v1/audit`` and ``/api/v1/views``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from dashboard.cases.case import AuditEntry
from dashboard.cases.state import AuditSelection
from dashboard.web.cases.answers import act, who_acts
from dashboard.web.cases.bodies import ViewBody, read_model
from dashboard.web.cases.docs import (
    ACTIONS,
    BODY_PROBLEMS,
    AuditPageModel,
    ViewModel,
    ViewsModel,
    body_of,
)
from dashboard.web.listing import MAX_LIMIT, forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import AUDITORS, DECIDERS, require_role

router = APIRouter(prefix="/api/v1", tags=["desk"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_AUDIT_PARAMETERS = frozenset({"cursor", "limit", "kind", "by", "flag", "since", "until"})
_Time = Annotated[int | None, Query(ge=0, le=2**53, description="epoch milliseconds")]
_Text = Annotated[str | None, Query(min_length=1, max_length=300)]


@router.get(
    "/audit",
    summary="The audit log, newest first",
    response_model=None,
    responses={
        200: {"model": AuditPageModel},
        **problem_responses(
            s400="unknown parameter, or a cursor for other filters", s403="needs lead or ops"
        ),
    },
)
async def list_audit(
    request: Request,
    parts: PartsOf,
    *,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    kind: _Text = None,
    by: _Text = None,
    flag: _Text = None,
    since: _Time = None,
    until: _Time = None,
) -> Response:
    """Who did what, when, and from which address, as recorded on the audit topic."""
    require_role(request, AUDITORS)
    forbid_unknown(request, _AUDIT_PARAMETERS)
    selection = AuditSelection(kind, by, flag, since, until)
    page, more = await find_audit(parts, selection, cursor, limit)
    return JSONResponse({"items": [entry.as_json() for entry in page], "next_cursor": more})


async def find_audit(
    parts: Parts, selection: AuditSelection, cursor: str | None, limit: int
) -> tuple[list[AuditEntry], str | None]:
    """A page of the audit log, newest first, and the cursor of the next one.

    Raises:
        Problem: 400, the cursor is not valid for the selection.
    """
    purpose = f"audit?{selection}"
    after = None
    if cursor:
        key = parts.sealer.unseal(purpose, cursor)
        if key is None:
            raise Problem(
                400,
                "the cursor is not valid for these filters: use next_cursor with the same filters, "
                "or start without a cursor",
                errors=[{"field": "cursor", "reason": "not valid for these filters"}],
            )
        after = (key[0], key[1], key[2])
    found = await act(parts, lambda: parts.desk.audit(selection, after, limit + 1))
    page = found[:limit]
    more = parts.sealer.seal(purpose, list(page[-1][0])) if len(found) > limit else None
    return [entry for _, entry in page], more


@router.get(
    "/views",
    summary="Your saved views",
    response_model=None,
    responses={200: {"model": ViewsModel}},
)
async def list_views(request: Request, parts: PartsOf) -> Response:
    """The saved views of this user by name, on every replica."""
    forbid_unknown(request, frozenset())
    who = who_acts(request, parts, DECIDERS, cost=0)
    return JSONResponse({"items": await act(parts, lambda: parts.desk.views(who.name))})


@router.post(
    "/views",
    summary="Save a view",
    response_model=None,
    responses={201: {"model": ViewModel}, **ACTIONS, **BODY_PROBLEMS},
    openapi_extra=body_of(ViewBody),
)
async def save_view(request: Request, parts: PartsOf) -> Response:
    """A view of the same name is replaced."""
    forbid_unknown(request, frozenset())
    who = who_acts(request, parts, DECIDERS)
    view = (await read_model(request, ViewBody)).model_dump()
    await act(parts, lambda: parts.desk.save_view(who, view))
    return JSONResponse(view, 201)


@router.delete(
    "/views/{name:path}",
    summary="Delete a saved view",
    response_model=None,
    status_code=204,
    responses=ACTIONS,
)
async def delete_view(request: Request, parts: PartsOf, name: str) -> Response:
    """Delete one of your own views."""
    forbid_unknown(request, frozenset())
    who = who_acts(request, parts, DECIDERS)
    await act(parts, lambda: parts.desk.delete_view(who, name))
    return Response(status_code=204)
