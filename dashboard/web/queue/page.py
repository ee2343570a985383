"""The queue page. It can be read, filtered, sorted and paged without JavaScript."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.web.listing import fetch_page, forbid_unknown, parse_selection
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.queue.address import ANY, PARAMETERS, SPANS, STATUSES, Address

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

PAGE_ROWS: Final = 50
PRODUCTS: Final = ("W", "C", "R", "H", "S")
"""The products of IEEE-CIS. The query string accepts any other product too."""


@router.get("/", response_model=None)
def queue(request: Request, parts: PartsOf) -> Response:
    """The list of flagged transactions."""
    forbid_unknown(request, PARAMETERS | {"cursor"})
    address = Address(request.query_params)
    filters = address.filters()
    selection = parse_selection(filters)
    cursor = request.query_params.get("cursor") or None
    page = fetch_page(parts, selection, cursor, PAGE_ROWS)
    chips = address.chips()
    products = list(PRODUCTS)
    if selection.product and selection.product not in products:
        products.append(selection.product)
    state = page_state(parts)
    return render_page(
        request,
        "queue.html",
        address=address,
        flags=page.items(),
        selection=selection,
        chips=chips,
        hidden=state["vitals"]["totals"]["flagged"],
        products=products,
        is_older=cursor is not None,
        older=address.link(cursor=page.next_cursor) if page.next_cursor else None,
        as_of=page.as_of_seq,
        api_query=urlencode(filters),
        any_status=address.link(status=ANY),
        statuses=STATUSES.items(),
        spans=SPANS.items(),
        **state,
    )
