"""``/api/v1/flags/{id}/related`` and ``/api/v1/entities``: flags with the same card or the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from dashboard.cache.parsing import SELECTION_PARAMETERS, parse_parameter
from dashboard.cache.reading import Listing, read_page, summarize_flags
from dashboard.cache.selection import Selection
from dashboard.cache.times import parse_span
from dashboard.masking import MASK, FieldMask
from dashboard.web.api import find_flag
from dashboard.web.listing import MAX_LIMIT, encode_rows, forbid_unknown, invalid
from dashboard.web.lookups.docs import EntityModel, RelatedModel
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import mask_of, refuse_hidden

router = APIRouter(prefix="/api/v1", tags=["flags"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

COUNTED: Final = "flagged transactions"
"""What the counts are of. The dashboard does not store the others."""

_MOST_MS: Final = 366 * 86_400_000
_MOST_TIME: Final = 2**62  # milliseconds; JSON and SQLite have 64 bits
_SPAN_RULE: Final = "must be a span from 1s to 366d, such as 15m, 24h or 7d"


class Kind(NamedTuple):
    """A kind of entity: its filter, and its field in a flag's context."""

    parameter: str
    field: str


KINDS: Final = {
    "card": Kind("card1", "card1"),
    "email": Kind("email", "P_emaildomain"),
    "device": Kind("device", "DeviceInfo"),
    "addr": Kind("addr1", "addr1"),
}
_BY: Final = {**KINDS, **{kind.parameter: kind for kind in KINDS.values()}}


def _only_related_parameters(request: Request) -> None:
    forbid_unknown(request, frozenset({"by", "window", "limit"}))


@router.get(
    "/flags/{flag_id}/related",
    summary="Flagged transactions with the same card, email domain, device or region",
    response_model=None,
    responses={
        200: {"model": RelatedModel},
        **problem_responses(
            s400="unknown parameter",
            s404="no such flagged transaction",
            s422="a value is not valid",
        ),
    },
    dependencies=[Depends(_only_related_parameters)],
)
def list_related(
    request: Request,
    parts: PartsOf,
    flag_id: str,
    *,
    by: Annotated[str, Query(description="card1, email, device or addr1")] = "card1",
    window: Annotated[str, Query(description="how long before and after it, such as 24h")] = "24h",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Response:
    """Those that were scored within the window around it, newest first, itself included.

    Counts and sums are of flagged transactions: the dashboard does not store the others.
    """
    kind = _BY.get(by)
    if kind is None:
        raise invalid(
            [{"field": "by", "reason": f"must be one of {', '.join(_BY)}, not {by[:40]!r}"}]
        )
    span = parse_window(window)
    flag = orjson.loads(find_flag(parts, flag_id))
    value = flag["context"].get(kind.field)
    since, until = flag["scored_at"] - span, flag["scored_at"] + span
    mask = mask_of(request)
    shown = MASK if value is not None and mask.hides(kind.field) else value
    head = {"by": kind.parameter, "value": shown, "since": since, "until": until}
    if value is None or since < 0 or until > _MOST_TIME:  # a time that no clock shows
        return _answer(head | {"counted": COUNTED, "summary": None}, [])
    selection = replace(_selection(kind, value), since=str(since), until=str(until))
    return _list(parts, head, selection, limit, mask)


@router.get(
    "/entities/{kind}/{value:path}",
    summary="A card, email domain, device or region, and what was flagged of it",
    response_model=None,
    responses={
        200: {"model": EntityModel},
        **problem_responses(
            s403="this user does not see values of this kind",
            s404="no such kind",
            s422="a value is not valid",
        ),
    },
)
def get_entity(
    request: Request,
    parts: PartsOf,
    kind: str,
    value: str,
    *,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Response:
    """Its flagged transactions, newest first, and their counts and sums.

    The kinds are card (by card1), email (the purchaser's domain), device (DeviceInfo) and addr
    (addr1).
    """
    forbid_unknown(request, frozenset({"limit"}))
    selection, mask = entity_selection(kind, value), mask_of(request)
    refuse_hidden(mask, [KINDS[kind].parameter], "look for a value of it")
    return _list(parts, {"kind": kind, "value": value}, selection, limit, mask)


def entity_selection(kind: str, text: str) -> Selection:
    """The flagged transactions of an entity.

    Raises:
        Problem: 404, there is no such kind; 422, no entity of the kind has this value.
    """
    if kind not in KINDS:
        raise Problem(404, f"no kind {kind[:40]!r} (known: {', '.join(KINDS)})")
    name = KINDS[kind].parameter
    faults: list[dict[str, str]] = []
    value = parse_parameter("value", SELECTION_PARAMETERS[name], text, faults)
    if faults:
        raise invalid(faults)
    return Selection(**{name: value})


def parse_window(text: str) -> int:
    """A span of time in milliseconds.

    Raises:
        Problem: 422, it is not one.
    """
    span = parse_span(text)
    if span is None or not 0 < span <= _MOST_MS:
        raise invalid([{"field": "window", "reason": f"{_SPAN_RULE}, not {text[:40]!r}"}])
    return span


def _selection(kind: Kind, value: float | str) -> Selection:
    return Selection(**{kind.parameter: value})  # type: ignore[arg-type]  # as its kind has it


def _list(
    parts: Parts, head: Mapping[str, Any], selection: Selection, limit: int, mask: FieldMask
) -> Response:
    listing = Listing(selection, parts.board.now())
    summary = summarize_flags(parts.table, listing)._asdict()
    if mask.hides("TransactionAmt"):
        summary |= {"amount": 0.0, "expected_loss": 0.0}
    rows = read_page(parts.table, listing, None, limit)
    described = {**head, "counted": COUNTED, "summary": summary}
    return _answer(described, encode_rows(parts, rows, mask))


def _answer(head: Mapping[str, Any], bodies: list[bytes]) -> Response:
    encoded = orjson.dumps(head)
    body = encoded[:-1] + b',"items":[' + b",".join(bodies) + b"]}"
    return Response(body, media_type="application/json")
