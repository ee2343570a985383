"""``/api/v1/models``: the versions in the store; promote and roll back."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from dashboard.web.admin import model_view
from dashboard.web.admin.bodies import read_json
from dashboard.web.admin.model_docs import ModelsModel, PromotedModel, VersionDetailsModel
from dashboard.web.admin.promoting import PromotionModel, promote
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.roles import LEADS, require_role

router = APIRouter(prefix="/api/v1/models", tags=["models"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_STORE_PROBLEMS: Final = problem_responses(
    s400="unknown parameter", s503="the artifact store does not answer; see Retry-After"
)
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": PromotionModel.model_json_schema(),
                "example": PromotionModel.model_config["json_schema_extra"]["example"],  # type: ignore[index]  # ours is a dict
            }
        },
    }
}
_PROMOTION_PROBLEMS: Final = problem_responses(
    s400="unknown parameter",
    s403="the role is not lead, or a cross-site request from a browser",
    s404="no such version",
    s408="the body did not arrive in time",
    s409="the pointer moved meanwhile (pointer-moved), the version needs force (needs-force), or "
    "there is no version to roll back to",
    s413="the body is too large",
    s415="the body has a Content-Encoding",
    s422="the body is not valid, or the version cannot be served",
    s503="the artifact store does not answer, or refuses to be written",
)


def _no_parameters(request: Request) -> None:
    forbid_unknown(request, frozenset())


def _for_leads(request: Request) -> None:
    require_role(request, LEADS)  # before the body is read


def _only_against(request: Request) -> None:
    forbid_unknown(request, frozenset({"against"}))


@router.get(
    "",
    summary="Versions in the store, newest first",
    response_model=None,
    responses={200: {"model": ModelsModel}, **_STORE_PROBLEMS},
    dependencies=[Depends(_no_parameters)],
)
async def list_models(parts: PartsOf) -> dict[str, Any]:
    """The newest versions, where each is in use, and the promotions."""
    return model_view.describe_overview(await model_view.overview(parts), parts)


@router.get(
    "/{version}",
    summary="One version, or two side by side",
    response_model=None,
    responses={
        200: {"model": VersionDetailsModel},
        **_STORE_PROBLEMS,
        **problem_responses(s404="no such version", s422="its metadata cannot be read"),
    },
    dependencies=[Depends(_only_against)],
)
async def get_model(
    parts: PartsOf,
    version: str,
    against: Annotated[
        str | None, Query(max_length=16, description="a version to show beside it")
    ] = None,
) -> dict[str, Any]:
    """Metrics, thresholds, gate, training data and features, from the version's metadata."""
    return await model_view.details(parts, version, against)


@router.post(
    "/{version}/promote",
    summary="Promote a version (lead)",
    response_model=None,
    responses={200: {"model": PromotedModel}, **_PROMOTION_PROBLEMS},
    dependencies=[Depends(_no_parameters), Depends(_for_leads)],
    openapi_extra=_BODY,
)
async def promote_model(request: Request, parts: PartsOf, version: str) -> dict[str, Any]:
    """Move the store's pointer, as ``fraud-trainer models promote`` does. Scorers follow it."""
    return await promote(request, parts, version, await read_json(request, PromotionModel))


@router.post(
    "/rollback",
    summary="Promote the previous version (lead)",
    response_model=None,
    responses={200: {"model": PromotedModel}, **_PROMOTION_PROBLEMS},
    dependencies=[Depends(_no_parameters), Depends(_for_leads)],
    openapi_extra=_BODY,
)
async def roll_back_model(request: Request, parts: PartsOf) -> dict[str, Any]:
    """Promote the version that was promoted before, as ``fraud-trainer models rollback`` does."""
    return await promote(request, parts, None, await read_json(request, PromotionModel))
