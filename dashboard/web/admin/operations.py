"""``/ops`` and ``GET /api/v1/operations``: is scoring healthy, how far behind, which model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.web.admin.operations_docs import OperationsModel
from dashboard.web.admin.operations_view import build
from dashboard.web.admin.waiting import wait_for
from dashboard.web.auth import identity_of
from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.roles import mask_of

router = APIRouter()
PartsOf = Annotated[Parts, Depends(parts_of)]

_SECONDS: Final = 10.0


@router.get(
    "/api/v1/operations",
    summary="Backlog, delays, dead letters, versions and drift",
    tags=["operations"],
    response_model=None,
    responses={
        200: {"model": OperationsModel},
        **REFUSALS,
        **problem_responses(s400="unknown parameter", s503="the cache does not answer"),
    },
)
async def get_operations(request: Request, parts: PartsOf) -> dict[str, Any]:
    """What the operations page shows. Reasons of failures are for the roles ops and lead."""
    forbid_unknown(request, frozenset())
    return await _find(request, parts)


@router.get("/ops", response_model=None, include_in_schema=False)
async def operations(request: Request, parts: PartsOf) -> Response:
    """The operations page."""
    forbid_unknown(request, frozenset())
    found = await _find(request, parts)
    return render_page(
        request,
        "ops.html",
        ops=found,
        delay=format_delay,
        ranges=format_ranges,
        **page_state(parts),
    )


def format_delay(millis: float) -> str:
    """``38 ms``, ``1.2 s``, ``3.5 min`` or ``2.1 h``. ``static/admin.js`` writes the same."""
    if millis < 1000:
        return f"{millis:.0f} ms"
    if millis < 60_000:
        return f"{millis / 1000:.1f} s"
    return f"{millis / 60_000:.1f} min" if millis < 3_600_000 else f"{millis / 3_600_000:.1f} h"


def format_ranges(numbers: Sequence[int]) -> str:
    """``0 to 3, 7``: ascending numbers, with ranges of neighbours."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{a} to {b}" if b > a else str(a) for a, b in spans)


async def _find(request: Request, parts: Parts) -> dict[str, Any]:
    identity, mask = identity_of(request), mask_of(request)
    return await wait_for(parts, lambda: build(parts, identity, mask), _SECONDS, "the cache")
