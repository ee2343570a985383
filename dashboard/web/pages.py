"""The HTML pages. All of them can be read without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.live.ticks import build_vitals
from dashboard.model_status import describe_features
from dashboard.web.api import find_flag
from dashboard.web.auth import TokenAuth, identity_of
from dashboard.web.listing import (
    LISTING_PARAMETERS,
    fetch_page,
    forbid_unknown,
    listing_query,
    read_listing,
)
from dashboard.web.parts import Parts, parts_of

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

PAGE_ROWS: Final = 50
_QUEUE_PARAMETERS: Final = LISTING_PARAMETERS | {"cursor", "after", "sel"}
PRODUCTS: Final = ("W", "C", "R", "H", "S")
"""The products of IEEE-CIS. The query string accepts any other product too."""
_CHIPS: Final = {
    "min_score": "Score ≥ ",
    "max_score": "Score ≤ ",
    "min_amount": "Amount ≥ ",
    "max_amount": "Amount ≤ ",
    "product": "Product ",
    "card1": "Card ",
    "addr1": "Region ",
    "email": "Email ",
    "device": "Device ",
    "decision": "Decision ",
    "model": "Model ",
    "reason": "Reason ",
    "status": "Status ",
    "since": "Since ",
    "until": "Until ",
    "transaction_id": "Transaction ",
    "q": "Search ",
}


@router.get("/", response_model=None)
def queue(request: Request, parts: PartsOf) -> Response:
    """The list of flagged transactions."""
    forbid_unknown(request, _QUEUE_PARAMETERS)
    query = request.query_params
    listing = read_listing(parts, query)
    selection = listing.selection
    cursor, after = query.get("cursor") or None, query.get("after") or None
    page = fetch_page(parts, listing, cursor, PAGE_ROWS, after)
    products = list(PRODUCTS)
    if selection.product and selection.product not in products:
        products.append(selection.product)
    older = f"/?{listing_query(listing, cursor=page.next_cursor)}" if page.next_cursor else None
    newest = listing_query(listing)
    return render_page(
        request,
        "queue.html",
        flags=page.items(),
        selection=selection,
        sort=listing.sort.value,
        chips=_chips(query),
        products=products,
        cursor=cursor or after,
        older=older,
        newest=f"/?{newest}" if newest else "/",
        as_of=page.as_of_seq,
        **page_state(parts),
    )


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


def _chips(query: Mapping[str, str]) -> list[dict[str, str]]:
    """The active filters, each with the URL of the list without it."""
    given = {name: query[name] for name in _CHIPS if query.get(name)}
    return [
        {
            "name": name,
            "text": f"{_CHIPS[name]}{value}",
            "without": f"/?{urlencode({k: v for k, v in given.items() if k != name})}",
        }
        for name, value in given.items()
    ]
