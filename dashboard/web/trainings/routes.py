"""``/api/v1/trainings``: start one, list them, show one, cancel one."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from dashboard.cases.case import Who
from dashboard.trainings.rules import digest_key
from dashboard.trainings.training import Order, Trigger
from dashboard.web.cases.answers import who_acts
from dashboard.web.cases.bodies import idempotency_key, read_model
from dashboard.web.cases.docs import KEY
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import CANCELLERS, TRAINERS
from dashboard.web.tokens import WEBHOOK
from dashboard.web.trainings import docs, view
from dashboard.web.trainings.bodies import (
    AlertmanagerBody,
    TrainingBody,
    firing_drift,
    reason_of,
    recorded,
)
from dashboard.web.trainings.starting import cancel, start

router = APIRouter(prefix="/api/v1/trainings", tags=["trainings"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_REFUSED_WHILE: Final = (409, 429)
"""Statuses that are no failure of a notification: Alertmanager repeats it as long as it fires."""


def _no_parameters(request: Request) -> None:
    forbid_unknown(request, frozenset())


@router.get(
    "",
    summary="The last trainings, newest first",
    response_model=None,
    responses={200: {"model": docs.TrainingsModel}, **docs.READ_PROBLEMS},
    dependencies=[Depends(_no_parameters)],
)
async def list_trainings(parts: PartsOf) -> dict[str, Any]:
    """State and result of the trainings that are still known, however they were started."""
    return await view.describe_all(parts)


@router.get(
    "/{training_id}",
    summary="One training with the end of its log",
    response_model=None,
    responses={
        200: {"model": docs.TrainingLogModel},
        **docs.READ_PROBLEMS,
        **problem_responses(s404="no such training, or it is no longer kept"),
    },
    dependencies=[Depends(_no_parameters)],
)
async def get_training(request: Request, parts: PartsOf, training_id: str) -> dict[str, Any]:
    """State, result, and the last lines of the log."""
    return await view.describe_one(request, parts, training_id)


@router.post(
    "",
    summary="Start a training (lead or ops, or a webhook token)",
    response_model=None,
    status_code=202,
    responses={
        200: {"model": docs.StartedModel, "description": "the same key has started it before"},
        202: {"model": docs.StartedModel},
        **docs.START_PROBLEMS,
    },
    dependencies=[Depends(_no_parameters)],
    openapi_extra=docs.START_BODY | KEY,
)
async def start_training(request: Request, parts: PartsOf) -> Response:
    """Start one if none runs. Repeat a request with its Idempotency-Key if its answer is lost."""
    who = who_acts(request, parts, (*TRAINERS, WEBHOOK))
    body = await read_model(request, TrainingBody)
    default = Trigger.DRIFT if who.role == WEBHOOK else Trigger.PERSON
    trigger = Trigger(body.trigger) if body.trigger else default
    if who.role == WEBHOOK and trigger is Trigger.PERSON:
        raise Problem(
            403,
            'trigger: a webhook token may not use "person", which has no cooldown: use "drift" '
            'or "quality"',
            kind="role-required",
        )
    key = digest_key(idempotency_key(request) or "")
    order = Order(recorded(body.reason), trigger, who.name, key)
    started, is_new = await start(parts, who, order)
    answer = {**view.describe(started, {}), "is_new": is_new}
    location = f"/api/v1/trainings/{started.id}"
    return JSONResponse(answer, 202 if is_new else 200, {"Location": location})


@router.post(
    "/{training_id}/cancel",
    summary="Cancel a requested training (ops)",
    response_model=None,
    status_code=200,
    responses={
        200: {"model": docs.TrainingModel, "description": "it is cancelled"},
        202: {"model": docs.TrainingModel, "description": "it is being cancelled: its pods end"},
        **docs.CANCEL_PROBLEMS,
    },
    dependencies=[Depends(_no_parameters)],
)
async def cancel_training(request: Request, parts: PartsOf, training_id: str) -> Response:
    """End a training that was requested here. One that is cancelled already stays as it is."""
    who = who_acts(request, parts, CANCELLERS)
    cancelled = await cancel(parts, who, training_id)
    return JSONResponse(view.describe(cancelled, {}), 202 if cancelled.is_running else 200)


@router.post(
    "/alertmanager",
    summary="Notification of Alertmanager: starts a training if drift fires (webhook token)",
    response_model=None,
    responses={200: {"model": docs.NotificationModel}, **docs.WEBHOOK_PROBLEMS},
    dependencies=[Depends(_no_parameters)],
    openapi_extra=docs.WEBHOOK_BODY,
)
async def receive_alerts(request: Request, parts: PartsOf) -> dict[str, Any]:
    """The webhook of Alertmanager, version 4. Resolved alerts and others start nothing.

    A training that runs and the cooldown are answered with 200, because the notification did not
    fail: Alertmanager repeats it while the alert fires.
    """
    who = who_acts(request, parts, (*TRAINERS, WEBHOOK))
    alerts = firing_drift(await read_model(request, AlertmanagerBody))
    if not alerts:
        return _started(None, "no alert of drift is firing")
    try:
        return _started(await _start_for_drift(parts, who, reason_of(alerts)))
    except Problem as problem:
        if problem.status not in _REFUSED_WHILE:
            raise
        return _started(None, problem.detail)


async def _start_for_drift(parts: Parts, who: Who, reason: str) -> str:
    started, _ = await start(parts, who, Order(reason, Trigger.DRIFT, who.name))
    return started.id


def _started(training: str | None, reason: str | None = None) -> dict[str, Any]:
    return {"started": training is not None, "training": training, "reason": reason}
