"""Publishes a version with other thresholds for a lead. Promoting it is another step."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from dashboard.cases.events import THRESHOLDS
from dashboard.web.admin.bodies import read_form, read_json
from dashboard.web.admin.promoting import SECONDS, Reason
from dashboard.web.admin.waiting import wait_for
from dashboard.web.cases.answers import act, who_acts
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import LEADS, require_role
from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.model.store.names import is_version
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.listing import UnknownVersion
from stream_scorer.model.versions.promoting import CannotServe
from stream_scorer.model.versions.thresholds import UnusableThresholds, publish_thresholds

log = logging.getLogger(__name__)

router = APIRouter()
PartsOf = Annotated[Parts, Depends(parts_of)]


class ThresholdsWish(BaseModel):
    """Other thresholds for the model of a version. One that is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"review": 0.31, "block": 0.82, "reason": "too many reviews since May"}
        },
    )

    review: float | None = Field(
        None, description="transactions with this score or more are reviewed"
    )
    block: float | None = Field(
        None, description="transactions with this score or more are blocked"
    )
    reason: Reason = Field(description="why; it is recorded")


class _ThresholdsForm(ThresholdsWish):
    """The fields of the form on the threshold page."""

    model: str = ""


class PairModel(BaseModel):
    """The thresholds of a version."""

    review: float
    block: float


class PublishedModel(BaseModel):
    """A version that was published, and is not promoted."""

    published: str
    origin: str = Field(description="the version whose model it is")
    before: PairModel
    thresholds: PairModel
    estimated: dict[str, Any] = Field(
        description="share, precision and recall at review and block, on the test rows of the "
        "origin, from its score histogram; empty if it has none"
    )


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": ThresholdsWish.model_json_schema(),
                "example": ThresholdsWish.model_config["json_schema_extra"]["example"],  # type: ignore[index]  # ours is a dict
            }
        },
    }
}


@router.post(
    "/api/v1/models/{version}/thresholds",
    tags=["models"],
    summary="Publish a version with other thresholds (lead)",
    response_model=None,
    responses={
        200: {"model": PublishedModel},
        **REFUSALS,
        **problem_responses(
            s400="unknown parameter",
            s403="the role is not lead, or a cross-site request from a browser",
            s404="no such version",
            s408="the body did not arrive in time",
            s413="the body is too large",
            s415="the body has a Content-Encoding",
            s422="the body is not valid, the thresholds cannot be, or are those of the version",
            s503="the artifact store does not answer, or refuses to be written",
        ),
    },
    openapi_extra=_BODY,
)
async def post_thresholds(request: Request, parts: PartsOf, version: str) -> dict[str, Any]:
    """Publish the same model with other thresholds as a new version. It is not promoted."""
    forbid_unknown(request, frozenset())
    require_role(request, LEADS)  # before the body is read
    return await publish(request, parts, version, await read_json(request, ThresholdsWish))


@router.post("/threshold/publish", response_model=None, include_in_schema=False)
async def publish_form(request: Request, parts: PartsOf) -> Response:
    """The form of the threshold page. Then the new version is shown, where it can be promoted."""
    forbid_unknown(request, frozenset())
    form = await read_form(request, _ThresholdsForm)
    done = await publish(request, parts, form.model, form)
    return RedirectResponse(f"/model?{urlencode({'version': done['published']})}", 303)


async def publish(
    request: Request, parts: Parts, version: str, body: ThresholdsWish
) -> dict[str, Any]:
    """Publish the model of ``version`` with other thresholds, and record who did it.

    Raises:
        Problem: 403 without the role lead, 404 for an unknown version, 422 if the thresholds or the
            version cannot be used, 503 if the store refuses or it could not be recorded.
    """
    who = who_acts(request, parts, LEADS)
    if not is_version(version):
        raise Problem(404, f"{version[:40]!r} is not a version such as v3")
    override = Override(who.name, body.reason)

    def call() -> dict[str, Any]:
        found = publish_thresholds(
            parts.catalog.store, parts.settings, version, body.review, body.block, override
        )
        return found.as_json()

    try:
        done = await wait_for(parts, call, SECONDS, "the artifact store")
    except ScorerError as error:
        raise _refusal_of(error) from None
    log.warning(
        "%s published %s: the model of %s with other thresholds", who.name, done["published"],
        version, extra={"reason": body.reason},
    )  # fmt: skip
    details = {
        "published": done["published"], "origin": version, **done["thresholds"],
        "reason": body.reason,
    }  # fmt: skip
    try:
        await act(parts, lambda: parts.desk.record(THRESHOLDS, who, details))
    except Problem as problem:
        raise Problem(
            503,
            f"{done['published']} is published, but the audit log has no event of it: "
            f"{problem.detail}. Do not repeat it",
            kind="not-in-audit-log",
        ) from None
    return done


def _refusal_of(error: ScorerError) -> Problem:
    """The problem for a version that was not published."""
    if isinstance(error, UnknownVersion):
        return Problem(404, str(error))
    if isinstance(error, UnusableThresholds):
        return Problem(422, str(error), kind="unusable-thresholds")
    if isinstance(error, CannotServe):
        return Problem(422, str(error), kind="cannot-serve")
    if isinstance(error, StoreError):
        return Problem(
            503,
            f"nothing was published: {error}. The dashboard needs to write to models/ of the "
            "store; with read-only credentials, use fraud-trainer models threshold",
            kind="store-refused",
        )
    return Problem(503, f"nothing was published: {error}", kind="not-published")
