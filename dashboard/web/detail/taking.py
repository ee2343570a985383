"""``POST /next``: what the button *Take the next one* does without JavaScript."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from dashboard.web.cases.answers import act, who_acts
from dashboard.web.cases.bodies import read_selection
from dashboard.web.detail.forms import read_form
from dashboard.web.listing import forbid_unknown, with_filters
from dashboard.web.parts import Parts, parts_of
from dashboard.web.roles import DECIDERS

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]


@router.post("/next", response_model=None)
async def take_next(request: Request, parts: PartsOf) -> Response:
    """Claim the next transaction that matches the filters and show it; the list if none is left."""
    forbid_unknown(request, frozenset())
    who = who_acts(request, parts, DECIDERS)
    form = await read_form(request)
    given = {name: text for name, values in form.items() if (text := values[0].strip())}
    selection = read_selection(given)
    found = await act(parts, lambda: parts.desk.claim_next(selection, who))
    path = f"/t/{quote(found[0]['id'], safe='')}" if found else "/"
    return RedirectResponse(with_filters(path, given), 303)
