"""``GET /api/v1/challenger``: what scores in shadow, and the comparison that was published."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request

from dashboard.web.challenger.view import read_comparison
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from stream_scorer.errors import StoreError

router = APIRouter(prefix="/api/v1/challenger", tags=["models"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_RETRY: Final = {"Retry-After": "5"}


@router.get(
    "",
    summary="The challenger, and how it compares with the champion",
    response_model=None,
    responses=problem_responses(
        s400="unknown parameter",
        s503="the artifact store does not answer, or the result cannot be read; see Retry-After",
    ),
)
def get_challenger(request: Request, parts: PartsOf) -> dict[str, Any]:
    """Champion and challenger (null: none), and the comparison as ``--publish`` wrote it."""
    forbid_unknown(request, frozenset())
    try:
        champion, challenger, result = read_comparison(parts.catalog.store)
    except StoreError as error:
        raise Problem(503, str(error), kind="store-unavailable", headers=_RETRY) from None
    return {"champion": champion, "challenger": challenger, "comparison": result}
