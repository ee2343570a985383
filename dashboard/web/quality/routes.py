"""``GET /api/v1/quality``: the last result of live quality, as it was written."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request

from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from stream_scorer.errors import StoreError

router = APIRouter(prefix="/api/v1/quality", tags=["models"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

COMMAND: Final = "stream-scorer quality --since 30d --publish"


@router.get(
    "",
    summary="What live versions are worth, by labels",
    response_model=None,
    responses=problem_responses(
        s400="unknown parameter",
        s404="no run has published a result yet (no-quality)",
        s503="the artifact store does not answer, or the result cannot be read; see Retry-After",
    ),
)
def get_quality(request: Request, parts: PartsOf) -> dict[str, Any]:
    """The figures of each version with their intervals, as the last run computed them."""
    forbid_unknown(request, frozenset())
    try:
        found = parts.quality.read()
    except StoreError as error:
        raise Problem(
            503, str(error), kind="store-unavailable", headers={"Retry-After": "5"}
        ) from None
    if found is None:
        raise Problem(404, f"no quality run yet: run {COMMAND}", kind="no-quality")
    return dict(found)
