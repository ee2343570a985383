"""The pages of a transaction and of an entity, and the same details for the drawer of the list."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from dashboard.cases.case import DeskError
from dashboard.explain import waterfall
from dashboard.web.api import find_flag
from dashboard.web.auth import identity_of
from dashboard.web.cases.answers import charge_actions, who_acts
from dashboard.web.detail.case_text import (
    LABELS,
    EventText,
    describe_case,
    describe_event,
)
from dashboard.web.detail.figures import describe_distance
from dashboard.web.detail.forms import carry_out, read_form
from dashboard.web.detail.related import KIND_BY_NAME, MOST, Finder, Kind, draw_items
from dashboard.web.listing import FILTERS, filters_of, forbid_unknown, with_filters
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import Problem
from dashboard.web.roles import AUDITORS, DECIDERS, has_role, mask_of, refuse_hidden
from dashboard.web.texts import describe_duration

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

_MAX_VALUE_CHARS: Final = 300
_DAY_MS: Final = 86_400_000


@router.get("/t/{flag_id}", response_model=None)
def transaction(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """One flagged transaction. The drawer of the list shows the same details."""
    forbid_unknown(request, FILTERS)
    details = _details(request, parts, flag_id)
    decided = _count_decided(request, parts)
    return render_page(request, "transaction.html", **details, decided_today=decided)


@router.get("/t/{flag_id}/panel", response_model=None)
def panel(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """The details alone, for the drawer. ``tally`` adds how many the user decided today."""
    forbid_unknown(request, frozenset({"tally"}))
    details = _details(request, parts, flag_id)
    if "tally" in request.query_params:
        details["decided_today"] = _count_decided(request, parts)
    return render_page(request, "_detail.html", **details)


@router.post("/t/{flag_id}", response_model=None)
async def act_on_transaction(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """Do what a button of the page says, without JavaScript, and show the page again."""
    forbid_unknown(request, FILTERS)
    who = who_acts(request, parts, DECIDERS, cost=0)
    form = await read_form(request)
    try:
        charge_actions(request, parts, 1)
        await carry_out(parts, flag_id, form, who)
    except Problem as problem:
        if problem.status == 404:
            raise
        details = await run_sync(lambda: _details(request, parts, flag_id))
        refused = f"Not saved: {problem.detail}."
        page = render_page(request, "transaction.html", **details, problem=refused)
        page.status_code = problem.status
        return page
    path = f"/t/{quote(flag_id, safe='')}"
    return RedirectResponse(with_filters(path, filters_of(request.query_params)), 303)


@router.get("/entity/{kind_name}/{value:path}", response_model=None)
def entity(request: Request, parts: PartsOf, kind_name: str, value: str) -> Response:
    """What was flagged of a card, email domain, device or address."""
    forbid_unknown(request, frozenset())
    kind = KIND_BY_NAME.get(kind_name)
    if kind is None:
        known = ", ".join(KIND_BY_NAME)
        raise Problem(404, f"there is no page for {kind_name[:40]!r}: use one of {known}")
    mask = mask_of(request)
    refuse_hidden(mask, [kind.filter], "look for a value of it")
    wanted = _value_of(kind, value)
    finder = Finder(parts.table, parts.desk, parts.board.now(), mask)
    found, items = finder.of_entity(kind, wanted)
    return render_page(
        request,
        "entity.html",
        entity=found,
        items=items,
        line=draw_items(items, None),
        labels=LABELS,
        most=MOST,
        can_decide=has_role(identity_of(request), DECIDERS),
        query=urlencode({kind.filter: found.value}),
        **page_state(parts),
    )


def _value_of(kind: Kind, text: str) -> float | str:
    if not kind.is_number:
        if not 0 < len(text) <= _MAX_VALUE_CHARS:
            limit = f"must have 1 to {_MAX_VALUE_CHARS} characters"
            raise Problem(422, f"the {kind.title.lower()} {limit}")
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Problem(422, f"the {kind.title.lower()} must be a number, not {text[:40]!r}")
    return number


def _details(request: Request, parts: Parts, flag_id: str) -> dict[str, Any]:
    whole, mask = orjson.loads(find_flag(parts, flag_id)), mask_of(request)
    flag = mask.mask_item(whole)
    me = identity_of(request)
    name = me.name if me else None
    now = parts.board.now()
    cases = parts.desk.case_of([flag["id"]])
    flag["case"] = cases[flag["id"]].as_json() if flag["id"] in cases else None
    recent = parts.histories.recent(whole["context"])
    if mask.hides("TransactionAmt") or mask.hides("TransactionDT"):
        recent = None
    return {
        "flag": flag,
        "case_text": describe_case(flag["case"], name, now, parts.settings.labels_topic),
        "can_decide": has_role(me, DECIDERS),
        "can_audit": has_role(me, AUDITORS),
        "filters": (filters := filters_of(request.query_params)),
        "carried": with_filters("", filters),
        "key": uuid.uuid4().hex,
        "labels": LABELS,
        "widest": max((abs(r["contribution"]) for r in flag["reasons"]), default=1.0) or 1.0,
        "waterfall": waterfall(flag, parts.model.current),
        "to_review": describe_distance(flag["score"], flag["review_threshold"]),
        "to_block": describe_distance(flag["score"], flag["block_threshold"]),
        "event_delay": describe_duration(flag["event_time"], flag["scored_at"]),
        "related": Finder(parts.table, parts.desk, now, mask).find(whole, recent),
        "events": _events(parts, flag["id"], name),
        "recent": recent,
        **page_state(parts),
    }


def _count_decided(request: Request, parts: Parts) -> int:
    """How many decisions that the user made today (UTC) stand, by the audit log."""
    me = identity_of(request)
    if me is None or not has_role(me, DECIDERS):
        return 0
    now = parts.board.now()
    return parts.desk.count_decided(me.name, now - now % _DAY_MS)


def _events(parts: Parts, flag_id: str, me: str | None) -> Sequence[EventText]:
    settings = parts.settings
    try:
        events = parts.desk.events(flag_id)
    except DeskError:
        return []  # the transaction was removed from the list in this moment
    return [
        describe_event(event.as_json(), me, settings.labels_topic, settings.audit_topic)
        for event in events
    ]
