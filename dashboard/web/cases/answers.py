"""Answers of the desk as HTTP: cases with their ETag, and refusals as problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from dashboard.cases.case import (
    Case,
    Conflict,
    DeskError,
    DeskUnavailable,
    KeyReused,
    NoDecision,
    NotFound,
    Stale,
    TooMany,
    Who,
)
from dashboard.web.limits import client_key, too_many_requests
from dashboard.web.parts import Parts
from dashboard.web.predict import rate_limit_key
from dashboard.web.problems import Problem
from dashboard.web.roles import require_role

_T = TypeVar("_T")


def who_acts(request: Request, parts: Parts, roles: tuple[str, ...], cost: int = 1) -> Who:
    """The user of the request, with the address that the audit log names.

    Raises:
        Problem: 403, the user has none of the roles; 429, the user did too much in this minute.
    """
    identity = require_role(request, roles)
    charge_actions(request, parts, cost)
    return Who(identity.name, identity.role, client_key(request, parts.settings.proxy_networks))


def charge_actions(request: Request, parts: Parts, cost: int, paid: int = 0) -> None:
    """Charge the user for actions at the desk, unless the limit was reached before.

    The request was charged ``paid`` already.

    Raises:
        Problem: 429.
    """
    key = rate_limit_key(request)
    if cost and (wait := parts.action_rate.wait_seconds(key, paid)):
        raise too_many_requests(
            "more actions than DASHBOARD_ACTIONS_PER_MINUTE"
            f"={parts.settings.dashboard_actions_per_minute}",
            wait,
        )
    parts.action_rate.charge(key, cost)


async def act(parts: Parts, action: Callable[[], _T]) -> _T:
    """The result of an action at the desk, which may wait two seconds for the broker.

    Raises:
        Problem: the desk refuses it.
    """
    try:
        return await run_sync(action, limiter=parts.desk_calls)
    except DeskError as error:
        raise problem_of(error, parts.board.now()) from None


def problem_of(error: DeskError, now: int) -> Problem:
    """A refusal of the desk as a problem."""
    text = str(error)
    if isinstance(error, NotFound):
        return Problem(404, text)
    if isinstance(error, Conflict):
        return Problem(
            409,
            f"{text} {format_age(now - error.since)}",
            kind="claimed-by-another",
            by=error.by,
            since=error.since,
            case=error.case.as_json(),
        )
    if isinstance(error, Stale):
        case = error.case
        return Problem(
            412,
            f'{text}; read it again and repeat with If-Match "{case.version}"',
            kind="case-changed",
            case=case.as_json(),
            headers={"ETag": f'"{case.version}"'},
        )
    if isinstance(error, KeyReused):
        return Problem(422, text, kind="idempotency-key-reused")
    if isinstance(error, NoDecision):
        return Problem(409, text, kind="no-decision")
    if isinstance(error, TooMany):
        return Problem(409, text, kind="too-many")
    status = 503 if isinstance(error, DeskUnavailable) else 500
    return Problem(status, text, kind="desk-unavailable", headers={"Retry-After": "5"})


def case_response(flag_id: str, case: Case, *, is_decision: bool = False) -> Response:
    """A case as JSON. 202 while it is known to this dashboard alone, 201 for a new decision."""
    is_waiting = case.pending if is_decision else case.is_local
    status = 202 if is_waiting else 201 if is_decision else 200
    return JSONResponse(
        {"id": flag_id, "case": case.as_json()}, status, {"ETag": f'"{case.version}"'}
    )


def case_json(flag_id: str, case: Case) -> dict[str, Any]:
    """A flag id with its case."""
    return {"id": flag_id, "case": case.as_json()}


def format_age(milliseconds: int) -> str:
    """``12 s ago``, ``5 min ago``, ``3 h ago`` or ``2 d ago``."""
    seconds = max(0, milliseconds // 1000)
    if seconds < 60:
        return f"{seconds} s ago"
    if seconds < 3600:
        return f"{seconds // 60} min ago"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600} h ago"
    return f"{seconds // 86_400} d ago"
