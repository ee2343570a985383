"""The queue page. It can be read, filtered, sorted and paged without JavaScript."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.cache.reading import Listing, count_flags
from dashboard.cache.score_counts import MINUTE_MS, read_timeseries
from dashboard.cache.selection import Selection
from dashboard.web.auth import identity_of
from dashboard.web.listing import (
    fetch_page,
    filters_of,
    forbid_unknown,
    listing_query,
    read_listing,
)
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.queue.address import ANY, OPEN, PARAMETERS, SPANS, STATUSES, Address
from dashboard.web.queue.work import count_work
from dashboard.web.roles import DECIDERS, has_role, mask_of
from dashboard.web.texts import format_duration

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

PAGE_ROWS: Final = 50
PRODUCTS: Final = ("W", "C", "R", "H", "S")
"""The products of IEEE-CIS. The query string accepts any other product too."""


@router.get("/", response_model=None)
def queue(request: Request, parts: PartsOf) -> Response:
    """The list of flagged transactions."""
    forbid_unknown(request, PARAMETERS)
    user, mask = identity_of(request), mask_of(request)
    address = Address(request.query_params, hides_losses=mask.hides_losses)
    who = user.name if user else None
    listing = read_listing(parts, address.parameters(), who, mask=mask)
    page = fetch_page(parts, listing, None, PAGE_ROWS, address.after, mask=mask)
    items = page.items()
    chips = address.chips()
    counts = count_work(parts, listing)
    products = list(PRODUCTS)
    if listing.selection.product and listing.selection.product not in products:
        products.append(listing.selection.product)
    return render_page(
        request,
        "queue.html",
        address=address,
        flags=items,
        selection=listing.selection,
        chips=chips,
        counts=counts,
        oldest=counts.oldest and format_duration(listing.now - counts.oldest),
        hidden=_count_hidden(parts, listing) if chips else 0,
        matching=len(items) or _count_matching(parts, listing) if address.status == OPEN else 0,
        series=_recent_rates(parts, listing.now),
        products=products,
        older=address.link(after=items[-1]["id"]) if page.next_cursor else None,
        as_of=page.as_of_seq,
        api_query=listing_query(listing),
        views=parts.desk.views(user.name) if has_role(user, DECIDERS) and user else [],
        any_status=address.link(status=ANY),
        filters=filters_of(request.query_params),
        statuses=STATUSES.items(),
        spans=SPANS.items(),
        **page_state(parts),
    )


def _count_hidden(parts: Parts, listing: Listing) -> int:
    """How many stored transactions the filters hide, leaving aside that only open ones are shown.

    That nearly all cases are open has no index, and would make this the slowest query of the page.
    """
    status = listing.selection.status
    selection = replace(listing.selection, status=None if status == OPEN else status)
    stored = count_flags(parts.table, replace(listing, selection=Selection()))
    return stored - count_flags(parts.table, replace(listing, selection=selection))


def _count_matching(parts: Parts, listing: Listing) -> int:
    """How many transactions match the filters, open or not."""
    return count_flags(
        parts.table, replace(listing, selection=replace(listing.selection, status=None))
    )


def _recent_rates(parts: Parts, now: int) -> list[list[float]]:
    """Flagged transactions per second in each of the last 15 minutes, since the first score."""
    points = read_timeseries(parts.table, now - 15 * MINUTE_MS, now, MINUTE_MS)
    flagged = {point.start: point.flagged for point in points}
    starts = range(min(flagged, default=now), now, MINUTE_MS)
    return [[at, round(flagged.get(at, 0) * 1000 / MINUTE_MS, 2)] for at in starts]
