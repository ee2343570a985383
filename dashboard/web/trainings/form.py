"""The forms of the model page that start and cancel a training."""

from __future__ import annotations

from fastapi import Request

from dashboard.trainings.rules import digest_key
from dashboard.trainings.training import Order, Training, Trigger
from dashboard.web.cases.answers import who_acts
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from dashboard.web.roles import CANCELLERS, TRAINERS
from dashboard.web.trainings.bodies import recorded
from dashboard.web.trainings.starting import cancel, start
from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS


async def start_from_form(request: Request, parts: Parts, reason: str, key: str) -> Training:
    """Start a training for the user of the form. ``key`` differs for each page that was sent.

    Raises:
        Problem: 403 without the role, 422 for the reason, and as :func:`start`.
    """
    who = who_acts(request, parts, TRAINERS)
    size = len(reason.strip())
    if not 0 < size <= REASON_MAX_CHARACTERS:
        what = "missing" if not size else f"too long ({size} characters)"
        limit = f"at most {REASON_MAX_CHARACTERS} characters"
        raise Problem(422, f"the reason is {what}: say why in {limit}, it is recorded")
    order = Order(recorded(reason), Trigger.PERSON, who.name, digest_key(key))
    started, _ = await start(parts, who, order)
    return started


async def cancel_from_form(request: Request, parts: Parts, training_id: str) -> Training:
    """Cancel a training for the user of the form.

    Raises:
        Problem: 403 without the role, and as :func:`cancel`.
    """
    who = who_acts(request, parts, CANCELLERS)
    return await cancel(parts, who, training_id)
