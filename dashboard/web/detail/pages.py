"""The page of a flagged transaction, and the same details for the drawer of the list."""

from __future__ import annotations

import time
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.web.api import find_flag
from dashboard.web.auth import identity_of
from dashboard.web.detail.case_text import describe_case
from dashboard.web.detail.figures import describe_distance, describe_duration
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]


@router.get("/t/{flag_id}", response_model=None)
def transaction(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """One flagged transaction. The drawer of the list shows the same details."""
    return render_page(request, "transaction.html", **_details(request, parts, flag_id))


@router.get("/t/{flag_id}/panel", response_model=None)
def panel(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """The details alone, for the drawer."""
    return render_page(request, "_detail.html", **_details(request, parts, flag_id))


def _details(request: Request, parts: Parts, flag_id: str) -> dict[str, Any]:
    flag = orjson.loads(find_flag(parts, flag_id))
    me = identity_of(request)
    now = time.time_ns() // 1_000_000
    case_text = describe_case(
        flag.get("case"), me.name if me else None, now, parts.settings.labels_topic
    )
    return {
        "flag": flag,
        "case_text": case_text,
        "widest": max((abs(r["contribution"]) for r in flag["reasons"]), default=1.0) or 1.0,
        "to_review": describe_distance(flag["score"], flag["review_threshold"]),
        "to_block": describe_distance(flag["score"], flag["block_threshold"]),
        "event_delay": describe_duration(flag["event_time"], flag["scored_at"]),
        "recent": parts.histories.recent(flag["context"]),
        **page_state(parts),
    }
