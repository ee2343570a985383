"""``/api/v1/flags/{id}/claim``, ``/decision``, ``/snooze``, ``/history``, and bulk decisions."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from dashboard.cache.flag import parse_flag_id
from dashboard.cases.case import Case, Decision, DeskError
from dashboard.cases.deciding import Wanted
from dashboard.web.cases.answers import (
    act,
    case_json,
    case_response,
    charge_actions,
    problem_of,
    who_acts,
)
from dashboard.web.cases.bodies import (
    MAX_SNOOZE_HOURS,
    BatchBody,
    BatchItem,
    DecisionBody,
    NextBody,
    SnoozeBody,
    expected_version,
    idempotency_key,
    read_model,
    read_selection,
)
from dashboard.web.cases.docs import (
    ACTIONS,
    BODY_PROBLEMS,
    KEY,
    KEY_AND_VERSION,
    VERSION,
    BatchModel,
    CaseAnswerModel,
    CaseHistoryModel,
    body_of,
)
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import DECIDERS


def _no_parameters(request: Request) -> None:
    forbid_unknown(request, frozenset())


router = APIRouter(
    prefix="/api/v1", tags=["desk"], responses=REFUSALS, dependencies=[Depends(_no_parameters)]
)
PartsOf = Annotated[Parts, Depends(parts_of)]


@router.post(
    "/flags/claim-next",
    summary="Claim the most worthwhile open case",
    response_model=None,
    responses={200: {"model": CaseAnswerModel}, 204: {"description": "no open case matches"},
               **ACTIONS, **BODY_PROBLEMS},
    openapi_extra=body_of(NextBody),
)  # fmt: skip
async def claim_next(request: Request, parts: PartsOf) -> Response:
    """Claim the open case with the highest expected loss among those that match the filters.

    The answer has the flagged transaction too. Cases that others hold or snoozed are left out.
    """
    who = who_acts(request, parts, DECIDERS)
    body = await read_model(request, NextBody)
    selection = read_selection(body.selection)
    found = await act(parts, lambda: parts.desk.claim_next(selection, who))
    if found is None:
        return Response(status_code=204)
    flag, case = found
    return JSONResponse(
        {**case_json(flag["id"], case), "flag": flag},
        202 if case.is_local else 200,
        {"ETag": f'"{case.version}"'},
    )


@router.post(
    "/flags/{flag_id}/claim",
    summary="Claim a case, or renew the claim",
    response_model=None,
    responses={200: {"model": CaseAnswerModel}, **ACTIONS},
    openapi_extra=VERSION,
)
async def claim(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """The claim holds for 15 minutes; repeat the request to renew it.

    202: the audit topic cannot be written at present, so only this dashboard knows of the claim.
    """
    who, version = who_acts(request, parts, DECIDERS), expected_version(request)
    return case_response(flag_id, await act(parts, lambda: parts.desk.claim(flag_id, who, version)))


@router.delete(
    "/flags/{flag_id}/claim",
    summary="Release a case",
    response_model=None,
    responses={200: {"model": CaseAnswerModel}, **ACTIONS},
    openapi_extra=VERSION,
)
async def release(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """Releasing a case that nobody holds changes nothing."""
    who, version = who_acts(request, parts, DECIDERS), expected_version(request)
    case = await act(parts, lambda: parts.desk.release(flag_id, who, version))
    return case_response(flag_id, case)


@router.post(
    "/flags/{flag_id}/snooze",
    summary="Snooze a case",
    response_model=None,
    responses={200: {"model": CaseAnswerModel}, **ACTIONS, **BODY_PROBLEMS},
    openapi_extra=body_of(SnoozeBody) | VERSION,
)
async def snooze(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """Hide the case from the queue for 0 to 720 hours, or until a time. 0 hours ends a snooze."""
    who, version = who_acts(request, parts, DECIDERS), expected_version(request)
    body = await read_model(request, SnoozeBody)
    until = _snooze_end(body, parts.board.now())
    case = await act(parts, lambda: parts.desk.snooze(flag_id, until, who, version))
    return case_response(flag_id, case)


@router.post(
    "/flags/{flag_id}/decision",
    summary="Decide a case",
    response_model=None,
    responses={201: {"model": CaseAnswerModel, "description": "recorded on the labels topic"},
               **ACTIONS, **BODY_PROBLEMS},
    openapi_extra=body_of(DecisionBody) | KEY_AND_VERSION,
)  # fmt: skip
async def decide(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """Send ``Idempotency-Key`` to repeat it safely, and ``If-Match`` with the case's version.

    202: the decision is stored on this dashboard and will be recorded as soon as Kafka allows.
    """
    who = who_acts(request, parts, DECIDERS)
    key, version = idempotency_key(request) or uuid.uuid4().hex, expected_version(request)
    body = await read_model(request, DecisionBody)
    decision = _decision(flag_id, body)
    case = await act(parts, lambda: parts.desk.decide(decision, who, key, version))
    return case_response(flag_id, case, is_decision=True)


@router.delete(
    "/flags/{flag_id}/decision",
    summary="Withdraw the decision",
    response_model=None,
    responses={201: {"model": CaseAnswerModel, "description": "recorded on the labels topic"},
               **ACTIONS},
    openapi_extra=KEY_AND_VERSION,
)  # fmt: skip
async def withdraw(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """The case is open again. The history keeps both the decision and its withdrawal."""
    who = who_acts(request, parts, DECIDERS)
    key, version = idempotency_key(request) or uuid.uuid4().hex, expected_version(request)
    case = await act(parts, lambda: parts.desk.withdraw(flag_id, who, key, version))
    return case_response(flag_id, case, is_decision=True)


@router.post(
    "/decisions:batch",
    summary="Decide up to 100 cases",
    response_model=None,
    responses={200: {"model": BatchModel}, **ACTIONS, **BODY_PROBLEMS},
    openapi_extra=body_of(BatchBody) | KEY,
)
async def decide_batch(request: Request, parts: PartsOf) -> Response:
    """Each decision has its own result, in the order of the request."""
    who = who_acts(request, parts, DECIDERS)
    key = idempotency_key(request) or uuid.uuid4().hex
    body = await read_model(request, BatchBody)
    _forbid_repeats(body.decisions, parts.settings.input_topic)
    charge_actions(request, parts, len(body.decisions) - 1, paid=1)
    wanted = [Wanted(_decision(one.id, one), one.version) for one in body.decisions]
    results = await act(parts, lambda: parts.desk.decide_many(wanted, who, key))
    now = parts.board.now()
    return JSONResponse(
        {"items": [_item(w.decision.id, r, now) for w, r in zip(wanted, results, strict=True)]}
    )


@router.get(
    "/flags/{flag_id}/history",
    summary="History of a case",
    response_model=None,
    responses={200: {"model": CaseHistoryModel}, **problem_responses(s404="no such flag")},
)
async def history(parts: PartsOf, flag_id: str) -> Response:
    """Claims, snoozes, decisions, withdrawals, chargebacks and reversals, oldest first."""
    events = await act(parts, lambda: parts.desk.events(flag_id))
    return JSONResponse({"items": [event.as_json() for event in events]})


def _decision(flag_id: str, body: DecisionBody) -> Decision:
    return Decision(flag_id, body.label, tuple(body.reasons), body.note or None)


def _snooze_end(body: SnoozeBody, now: int) -> int:
    if (body.until is None) == (body.hours is None):
        raise Problem(
            422,
            "give either until (epoch milliseconds) or hours",
            kind="invalid-input",
            errors=[{"field": "until", "reason": "give either until or hours"}],
        )
    if body.hours is not None:
        return now + int(body.hours * 3_600_000)
    until = body.until or 0
    if until > now + MAX_SNOOZE_HOURS * 3_600_000:
        raise Problem(
            422,
            f"until: must be at most {MAX_SNOOZE_HOURS // 24} days from now, in epoch milliseconds",
            kind="invalid-input",
            errors=[{"field": "until", "reason": "too far in the future"}],
        )
    return until


def _forbid_repeats(items: list[BatchItem], input_topic: str) -> None:
    seen = set[Any]()
    for item in items:
        place = parse_flag_id(item.id, input_topic) or item.id  # one flag has several spellings
        if place in seen:
            raise Problem(
                422,
                f"decisions: {item.id[:80]!r} is given twice",
                kind="invalid-input",
                errors=[{"field": "decisions", "reason": "an id is given twice"}],
            )
        seen.add(place)


def _item(flag_id: str, result: Case | DeskError, now: int) -> dict[str, Any]:
    if isinstance(result, Case):
        return {"status": 202 if result.pending else 201, **case_json(flag_id, result)}
    problem = problem_of(result, now)
    case = problem.more.get("case")
    return {
        "id": flag_id,
        "status": problem.status,
        "problem": {"type": problem.kind, "detail": problem.detail},
        **({"case": case} if case else {}),
    }
