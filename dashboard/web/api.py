"""``/api/v1``: flagged transactions, as pages and as a live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from dashboard.cache.flag import add_member
from dashboard.cache.parsing import SELECTION_PARAMETERS, SORT_PARAMETER
from dashboard.cache.reading import count_flags, read_flag
from dashboard.live.hub import Stream, TooManyStreams, while_authorized
from dashboard.live.ticks import describe_feed, describe_stream
from dashboard.model_status import describe_features, describe_model
from dashboard.web.auth import identity_of
from dashboard.web.flag_docs import CountModel, FeaturesModel, FlagModel, FlagPageModel
from dashboard.web.listing import (
    LISTING_PARAMETERS,
    MAX_LIMIT,
    canonical_id,
    fetch_page,
    find_position,
    forbid_unknown,
    read_listing,
)
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import OPERATORS, has_role, mask_of

router = APIRouter(prefix="/api/v1", tags=["flags"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_PAGE_PARAMETERS: Final = LISTING_PARAMETERS | {"cursor", "after", "limit"}
_COUNT_PARAMETERS: Final = LISTING_PARAMETERS | {"after", "before"}
_LISTING_DOCS: Final = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": parameter.description,
            "schema": parameter.schema,
        }
        for name, parameter in {**SELECTION_PARAMETERS, "sort": SORT_PARAMETER}.items()
    ]
}
_FLAG_ID_CHARS: Final = 300


def _only_page_parameters(request: Request) -> None:
    forbid_unknown(request, _PAGE_PARAMETERS)


def _only_count_parameters(request: Request) -> None:
    forbid_unknown(request, _COUNT_PARAMETERS)


@router.get(
    "/flags",
    summary="Flagged transactions",
    response_model=None,
    responses={
        200: {"model": FlagPageModel},
        304: {"description": "the rows are those of If-None-Match"},
        **problem_responses(
            s400="unknown parameter, or a cursor for other filters",
            s410="the row of `after` is no longer stored",
            s422="a value is out of range",
        ),
    },
    openapi_extra=_LISTING_DOCS,
    dependencies=[Depends(_only_page_parameters)],
)
def list_flags(
    request: Request,
    parts: PartsOf,
    *,
    cursor: Annotated[
        str | None, Query(max_length=600, description="next_cursor of the previous page")
    ] = None,
    after: Annotated[
        str | None,
        Query(max_length=_FLAG_ID_CHARS, description="instead: the id of the last row shown"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """One page. Request the next one with ``next_cursor`` and the same filters and order.

    A list that also shows live rows continues after its last row, with ``after``.
    """
    if cursor and after:
        reason = "give either cursor or after"
        raise Problem(400, reason, errors=[{"field": "after", "reason": reason}])
    mask = mask_of(request)
    listing = read_listing(parts, request.query_params, name_of(request), mask=mask)
    page = fetch_page(parts, listing, cursor, limit, after, mask=mask)
    headers = {"ETag": page.etag, "Cache-Control": "no-cache"}
    if if_none_match is not None and page.etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(page.as_json(), media_type="application/json", headers=headers)


@router.get(
    "/flags/count",
    summary="The number of flagged transactions",
    response_model=None,
    responses={
        200: {"model": CountModel},
        **problem_responses(
            s400="unknown parameter",
            s410="a row is no longer stored",
            s422="a value is out of range",
        ),
    },
    openapi_extra=_LISTING_DOCS,
    dependencies=[Depends(_only_count_parameters)],
)
def count_of_flags(
    request: Request,
    parts: PartsOf,
    *,
    after: Annotated[
        str | None, Query(max_length=_FLAG_ID_CHARS, description="only those that follow this row")
    ] = None,
    before: Annotated[
        str | None, Query(max_length=_FLAG_ID_CHARS, description="only those that precede this row")
    ] = None,
) -> dict[str, int]:
    """Count a selection, or the gap between two rows of the list in its order."""
    listing = read_listing(parts, request.query_params, name_of(request), mask=mask_of(request))
    start = find_position(parts, after, "after") if after else None
    end = find_position(parts, before, "before") if before else None
    return {"count": count_flags(parts.table, listing, start, end)}


@router.get(
    "/flags/{flag_id}",
    summary="One flagged transaction",
    response_model=None,
    responses={200: {"model": FlagModel}, **problem_responses(s404="no such flagged transaction")},
)
def get_flag(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """Find it by the coordinates of its input record: ``partition-offset``.

    Its case is part of it, and the ETag is the case's version, for ``If-Match``.

    The id of a record of another topic than INPUT_TOPIC starts with ``topic:``.

    A transaction id is not always unique. The coordinates are.
    """
    forbid_unknown(request, frozenset())
    body = mask_of(request).mask_flag(find_flag(parts, flag_id))
    case = parts.desk.case_of([canonical_id(parts, flag_id) or ""]).popitem()[1]
    return Response(
        add_member(body, "case", orjson.dumps(case.as_json())),
        media_type="application/json",
        headers={"ETag": f'"{case.version}"', "Cache-Control": "no-cache"},
    )


def name_of(request: Request) -> str | None:
    """The name of the user."""
    identity = identity_of(request)
    return identity.name if identity else None


def find_flag(parts: Parts, flag_id: str) -> bytes:
    """The JSON object of a flag, with what its viewers do not see.

    Raises:
        Problem: 404, there is no such flag.
    """
    wanted = canonical_id(parts, flag_id)
    body = read_flag(parts.table, wanted) if wanted else None
    if body is None:
        raise Problem(404, f"flagged transaction {flag_id[:40]!r} not found")
    return body


async def _open_stream(
    request: Request,
    parts: PartsOf,
    after: Annotated[
        str | None,
        Query(max_length=64, description="continue after this event id, like Last-Event-ID"),
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> AsyncIterator[Stream]:
    forbid_unknown(request, frozenset({"after"}))
    try:
        stream = parts.hub.open(last_event_id or after, mask_of(request))
    except TooManyStreams:
        raise Problem(
            503,
            "too many open live streams: poll /api/v1/flags instead",
            kind="too-many-streams",
            headers={"Retry-After": "5"},
        ) from None
    try:
        yield stream
    finally:
        parts.hub.leave(stream)


@router.get(
    "/stream",
    summary="Live ticks (server-sent events)",
    response_class=EventSourceResponse,
    responses=problem_responses(s503="too many open streams"),
)
async def stream_ticks(
    request: Request, parts: PartsOf, stream: Annotated[Stream, Depends(_open_stream)]
) -> AsyncIterator[ServerSentEvent]:
    """At most four events per second: ``tick``, or ``reset`` when the list must be fetched again.

    Ends within seconds after the token is revoked or the session expires.
    """
    async for event in while_authorized(
        stream, lambda: parts.authenticator.is_still_authorized(request)
    ):
        yield event


@router.get(
    "/features",
    summary="The features of the loaded model in words",
    response_model=None,
    responses={200: {"model": FeaturesModel}},
)
def list_features(request: Request, parts: PartsOf) -> dict[str, Any]:
    """The texts for the features that reasons name. They change only with the model's version."""
    forbid_unknown(request, frozenset())
    return describe_features(parts.model)


@router.get("/meta", summary="Model, topics, counts", tags=["flags"])
def meta(request: Request, parts: PartsOf) -> dict[str, Any]:
    """The model, topics, totals and user of this dashboard.

    The reasons of failures are in full for the roles ops and lead.
    """
    forbid_unknown(request, frozenset())
    settings, counts = parts.settings, parts.board.counts
    identity, history = identity_of(request), parts.histories.status()
    in_full = has_role(identity, OPERATORS)
    return {
        "version": parts.version,
        "model": describe_model(parts.model, in_full=in_full),
        "history": None if history is None else history.as_json(in_full=in_full),
        "stream": describe_stream(parts.board.status),
        "feed": describe_feed(parts.board.status),
        "topics": {
            "input": settings.input_topic,
            "scores": settings.output_topic,
            "dead_letters": settings.dlq_topic,
            "labels": settings.labels_topic,
        },
        "counts": {
            "scored": counts.scored,
            "flagged": counts.flagged,
            "unreadable": counts.unreadable,
        },
        "histogram": counts.histogram,
        "user": {"name": identity.name, "role": identity.role} if identity else None,
    }


__all__ = ["find_flag", "router"]
