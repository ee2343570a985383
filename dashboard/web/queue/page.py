"""The queue page. It can be read, filtered, sorted and paged without JavaScript."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.cache.reading import Listing, count_flags
from dashboard.web.auth import identity_of
from dashboard.web.listing import fetch_page, forbid_unknown, listing_query, read_listing
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.queue.address import ANY, PARAMETERS, SPANS, STATUSES, Address
from dashboard.web.roles import DECIDERS, has_role

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

PAGE_ROWS: Final = 50
PRODUCTS: Final = ("W", "C", "R", "H", "S")
"""The products of IEEE-CIS. The query string accepts any other product too."""


@router.get("/", response_model=None)
def queue(request: Request, parts: PartsOf) -> Response:
    """The list of flagged transactions."""
    forbid_unknown(request, PARAMETERS)
    address = Address(request.query_params)
    user = identity_of(request)
    listing = read_listing(parts, address.parameters(), user.name if user else None)
    page = fetch_page(parts, listing, None, PAGE_ROWS, address.after)
    items = page.items()
    chips = address.chips()
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
        hidden=_count_hidden(parts, listing) if chips else 0,
        products=products,
        older=address.link(after=items[-1]["id"]) if page.next_cursor else None,
        as_of=page.as_of_seq,
        api_query=listing_query(listing),
        export_query=listing.selection.query(),
        views=parts.desk.views(user.name) if has_role(user, DECIDERS) and user else [],
        any_status=address.link(status=ANY),
        statuses=STATUSES.items(),
        spans=SPANS.items(),
        **page_state(parts),
    )


def _count_hidden(parts: Parts, listing: Listing) -> int:
    """How many of the stored transactions the filters hide."""
    every = Listing(type(listing.selection)(), listing.now, listing.sort)
    return count_flags(parts.table, every) - count_flags(parts.table, listing)
