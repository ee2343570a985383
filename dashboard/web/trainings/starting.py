"""Starts or cancels a training for whoever requested it, and records that in the audit log."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import anyio
from anyio.to_thread import run_sync

from dashboard.cases.case import Who
from dashboard.cases.events import TRAINING, TRAINING_CANCELLED, TRAINING_ENDED
from dashboard.trainings.training import (
    AlreadyRunning,
    NotCancellable,
    Order,
    TooSoon,
    Training,
    TrainingsError,
    TrainingsUnavailable,
    UnknownTraining,
)
from dashboard.web.cases.answers import act
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem

log = logging.getLogger(__name__)

SECONDS: Final = 30.0
"""For a start: some requests to the API server, which answers each within milliseconds. For the end
of a process: ten seconds at most."""

_RETRY_SECONDS: Final = 60
_OURSELVES: Final = Who("dashboard")  # nobody did it

T = TypeVar("T")


async def start(parts: Parts, who: Who, order: Order) -> tuple[Training, bool]:
    """Start a training. Returns it, and False if the same request has started it before.

    Raises:
        Problem: 409 while another one runs, 429 within the cooldown, 503 if it cannot be started
            or if the start could not be recorded.
    """
    started, is_new = await call(parts, lambda: parts.trainings.start(order))
    if is_new:
        details = {"trigger": order.trigger.value, "reason": order.reason}
        await _record(parts, who, TRAINING, started, details, "started")
    return started, is_new


async def cancel(parts: Parts, who: Who, training_id: str) -> Training:
    """Cancel a requested training. It may take a moment until its processes have ended.

    Raises:
        Problem: 404 if there is none, 409 if it has ended or nobody requested it, 503 if it cannot
            be cancelled or if the cancellation could not be recorded.
    """
    cancelled, is_new = await call(parts, lambda: parts.trainings.cancel(training_id, who.name))
    if is_new:
        details = {"reason": cancelled.reason}
        await _record(parts, who, TRAINING_CANCELLED, cancelled, details, "cancelled")
    return cancelled


async def record_end(parts: Parts, token: str, shown: Mapping[str, Any]) -> None:
    """Record the end of a training, once, whichever dashboards have seen it."""
    details = {
        "training": shown["id"],
        "state": shown["state"],
        "detail": shown["detail"],
        "version": shown["result"] and shown["result"]["version"],
        "requested_by": shown["by"],
        "ended_at": shown["ended_at"],
        "where": parts.trainings.where,
    }
    end = f"{token}:{TRAINING_ENDED}"
    try:
        await act(parts, lambda: parts.desk.record(TRAINING_ENDED, _OURSELVES, details, end))
    except Problem as problem:
        log.error("the audit log has no event of the end of %s: %s", shown["id"], problem.detail)


async def call(parts: Parts, function: Callable[[], T]) -> T:
    """The result of a call of the trainings, in a thread of its own.

    Raises:
        Problem: it was refused, or did not end in time. The call then goes on in its thread.
    """
    try:
        with anyio.fail_after(SECONDS):
            return await run_sync(function, limiter=parts.waiting, abandon_on_cancel=True)
    except TimeoutError:
        raise Problem(
            503,
            f"no answer within {SECONDS:.0f} s. A training may have been started or cancelled: "
            "look at the list before you try again",
            kind="no-answer",
            headers={"Retry-After": "5"},
        ) from None
    except TrainingsError as error:
        raise problem_of(error, parts.board.now()) from None


def problem_of(error: TrainingsError, now: int) -> Problem:
    """A refusal as a problem."""
    if isinstance(error, AlreadyRunning):
        return Problem(409, str(error), kind="training-running", running=error.running.as_json())
    if isinstance(error, TooSoon):
        wait = max(1, math.ceil((error.next_at - now) / 1000))
        return Problem(
            429,
            str(error),
            kind="training-cooldown",
            last=error.last.as_json(),
            next_at=error.next_at,
            headers={"Retry-After": str(wait)},
        )
    if isinstance(error, UnknownTraining):
        return Problem(404, str(error))
    if isinstance(error, NotCancellable):
        facts = error.training.as_json()
        return Problem(409, str(error), kind="training-not-cancellable", training=facts)
    is_permanent = isinstance(error, TrainingsUnavailable) and error.is_permanent
    headers = {} if is_permanent else {"Retry-After": str(_RETRY_SECONDS)}
    return Problem(503, str(error), kind="trainings-unavailable", headers=headers)


async def _record(
    parts: Parts, who: Who, kind: str, training: Training, more: dict[str, Any], done: str
) -> None:
    """Record what was done to a training, in the audit log of the desk."""
    details = {"training": training.id, **more, "where": parts.trainings.where}
    try:
        await act(parts, lambda: parts.desk.record(kind, who, details))
    except Problem as problem:
        # It must not look as if nothing was done.
        raise Problem(
            503,
            f"training {training.id} is {done}, but the audit log has no event of it: "
            f"{problem.detail}. Do not repeat it",
            kind="not-in-audit-log",
            training=training.as_json(),
        ) from None
