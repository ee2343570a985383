"""``/api/v1/work``: how much work there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from dashboard.cache.reading import Listing, Sort, count_flags, read_page
from dashboard.cache.selection import Selection
from dashboard.web.api import name_of
from dashboard.web.listing import forbid_unknown, read_listing
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.roles import mask_of

router = APIRouter(prefix="/api/v1", tags=["desk"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]


_TRIES: Final = 3


class WorkModel(BaseModel):
    """How much work there is."""

    open: int = Field(description="cases that nobody holds, snoozed or decided")
    mine: int = Field(description="cases that you have claimed")
    oldest: int | None = Field(
        description="when the oldest open transaction was scored, epoch milliseconds"
    )
    flagged: int = Field(
        description="flagged transactions so far, as in the totals of the live stream: those that "
        "the stream counts beyond it are not among the open ones"
    )


@router.get(
    "/work",
    summary="How much work there is",
    responses=problem_responses(s400="unknown parameter"),
)
def work(request: Request, parts: PartsOf) -> WorkModel:
    """Open cases, your own, and the age of the oldest."""
    forbid_unknown(request, frozenset())
    return count_work(parts, read_listing(parts, {}, name_of(request), mask=mask_of(request)))


def count_work(parts: Parts, listing: Listing) -> WorkModel:
    """How much work there is for the user of a listing, whatever its filters are."""
    for _ in range(_TRIES):
        flagged = parts.board.counts.flagged
        found = _count(parts, listing, flagged)
        if flagged == parts.board.counts.flagged:  # else some of them may have been counted or not
            break
    return found


def _count(parts: Parts, listing: Listing, flagged: int) -> WorkModel:
    def count(status: str | None) -> int:
        return count_flags(parts.table, replace(listing, selection=Selection(status=status)))

    first = replace(listing, selection=Selection(status="open"), sort=Sort.OLDEST)
    oldest = read_page(parts.table, first, None, 1)
    # What is open is what remains: only the other cases can be found by an index.
    held = sum(count(status) for status in ("claimed", "snoozed", "decided"))
    return WorkModel(
        open=max(0, count(None) - held),
        mine=count("mine"),
        oldest=oldest[0].position.scored_at if oldest else None,
        flagged=flagged,
    )
