"""``/model``: the versions in the store, one in detail, and the forms to promote and roll back."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from dashboard.web.admin import model_view
from dashboard.web.admin.bodies import read_form
from dashboard.web.admin.champion_alias import AliasState
from dashboard.web.admin.promoting import PromotionModel, promote
from dashboard.web.admin.waiting import wait_for
from dashboard.web.auth import identity_of
from dashboard.web.challenger.view import read_challenger
from dashboard.web.headers import FRAMING_CSP
from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import Problem
from dashboard.web.quality.view import read_quality
from dashboard.web.roles import LEADS, has_role
from dashboard.web.trainings.form import cancel_from_form, start_from_form
from dashboard.web.trainings.view import page_context
from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

_PARAMETERS: Final = frozenset({"version", "against", "done", "mlflow"})


class ModelForm(BaseModel):
    """The fields of the forms of this page. ``version`` is empty for a rollback.

    ``action`` is ``train`` in the form that starts a training, ``cancel`` in the one that cancels
    it, else empty.
    """

    model_config = ConfigDict(extra="forbid")

    version: str = ""
    expected: str = ""
    reason: str = ""
    force: str = ""
    action: str = ""
    key: str = ""
    training: str = ""


@router.get("/model", response_model=None)
async def model(request: Request, parts: PartsOf) -> Response:
    """The versions, and the chosen one: the promoted one if none is chosen."""
    forbid_unknown(request, _PARAMETERS)
    query = request.query_params
    version, against = query.get("version") or None, query.get("against") or None
    alias = query.get("mlflow")
    return await _page(request, parts, version, against, done=query.get("done"), alias=alias)


@router.post("/model", response_model=None)
async def change_model(request: Request, parts: PartsOf) -> Response:
    """Promote or roll back. A refusal is shown on the page, with the form as it was sent."""
    forbid_unknown(request, frozenset())
    form = await read_form(request, ModelForm)
    if form.action in ("train", "cancel"):
        return await _train(request, parts, form)
    try:
        size = len(form.reason.strip())
        if not 0 < size <= REASON_MAX_CHARACTERS:
            what = "missing" if not size else f"too long ({size} characters)"
            limit = f"at most {REASON_MAX_CHARACTERS} characters"
            raise Problem(422, f"the reason is {what}: say why in {limit}, it is recorded")
        body = PromotionModel(
            expected=form.expected or None, reason=form.reason, force=bool(form.force)
        )
        done = await promote(request, parts, form.version or None, body)
    except Problem as problem:
        return await _page(request, parts, form.version or None, None, problem=problem, form=form)
    query = {"version": done["promoted"], "done": "yes"}
    if done["mlflow"] is not None and done["mlflow"]["state"] != AliasState.MOVED:
        query["mlflow"] = done["mlflow"]["state"]
    return RedirectResponse(f"/model?{urlencode(query)}", 303)


async def _train(request: Request, parts: Parts, form: ModelForm) -> Response:
    try:
        if form.action == "cancel":
            await cancel_from_form(request, parts, form.training)
        else:
            await start_from_form(request, parts, form.reason, form.key)
    except Problem as problem:
        return await _page(request, parts, None, None, problem=problem, form=form)
    return RedirectResponse("/model#trainings", 303)


async def _page(
    request: Request,
    parts: Parts,
    version: str | None,
    against: str | None,
    *,
    done: str | None = None,
    alias: str | None = None,
    problem: Problem | None = None,
    form: ModelForm | None = None,
) -> Response:
    context: dict[str, Any] = {
        "problem": problem,
        "form": form or ModelForm(),
        "done": done,
        "alias": alias,
        "most": REASON_MAX_CHARACTERS,
        "can_promote": has_role(identity_of(request), LEADS),
        "trainings": await page_context(request, parts),
        "store": None,
        "details": None,
        "challenger": None,
    }
    status = problem.status if problem else 200
    try:
        store = model_view.describe_overview(await model_view.overview(parts), parts)
        names = [found["version"] for found in store["versions"]]
        chosen = version or store["promoted"] or (names[0] if names else None)
        context |= {"store": store}
        context["challenger"] = await wait_for(
            parts, lambda: read_challenger(parts), model_view.SECONDS, model_view.STORE
        )
        if chosen is not None:
            context["details"] = await model_view.details(parts, chosen, against)
            context["quality"] = await wait_for(
                parts, lambda: read_quality(parts), model_view.SECONDS, model_view.STORE
            )
            context["chosen"] = next((v for v in store["versions"] if v["version"] == chosen), None)
    except Problem as failure:
        if problem is None:
            context["problem"], status = failure, failure.status
    page = render_page(request, "model.html", status, **context, **page_state(parts))
    if context["details"] and context["details"]["report"]:
        page.headers["Content-Security-Policy"] = FRAMING_CSP
    return page
