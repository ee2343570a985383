"""The HTML pages. All of them can be read without JavaScript."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.live.ticks import build_vitals
from dashboard.model_status import describe_features
from dashboard.web.api import find_flag
from dashboard.web.auth import TokenAuth, identity_of
from dashboard.web.parts import Parts, parts_of

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]


@router.get("/t/{flag_id}", response_model=None)
def transaction(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """One flagged transaction. The drawer of the list shows the same details."""
    flag = orjson.loads(find_flag(parts, flag_id))
    widest = max((abs(r["contribution"]) for r in flag["reasons"]), default=1.0) or 1.0
    recent = parts.histories.recent(flag["context"])
    return render_page(
        request, "transaction.html", flag=flag, widest=widest, recent=recent, **page_state(parts)
    )


def render_page(request: Request, template: str, status: int = 200, **more: Any) -> Response:
    """A page of a template, with what the layout of all pages needs."""
    parts = parts_of(request)
    context = {
        "version": parts.version,
        "settings": parts.settings,
        "user": identity_of(request),
        "can_log_out": isinstance(parts.authenticator, TokenAuth),
        **more,
    }
    page: Response = parts.templates.TemplateResponse(request, template, context, status)
    return page


def page_state(parts: Parts) -> dict[str, Any]:
    """The state that the header and the banners of a page show."""
    return {
        "vitals": build_vitals(parts.board, parts.model, parts.hub.latest.rates),
        "features": describe_features(parts.model),
    }
