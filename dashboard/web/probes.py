"""``/livez``, ``/readyz``, ``/health``, ``/metrics``: for machines; no authentication.

Whoever says nonetheless who they are, as at the other paths, is told the reasons in full: hosts,
buckets and topics stand in them. Anybody else is told what is not well; the log has the rest.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from dashboard.feed.board import FeedState
from dashboard.live.ticks import describe_feed, describe_stream
from dashboard.model_status import describe_model
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import problem_responses
from dashboard.web.problems import PROBLEM_JSON, Problem

router = APIRouter(tags=["probes"])
PartsOf = Annotated[Parts, Depends(parts_of)]

_MODEL_TROUBLE: Final = "trouble with the artifact store or the version in it; the log says which"
_FEED_TROUBLE: Final = "trouble with the broker or the topic; the log says which"


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process turns; says nothing of Kafka or the store, whose outage no restart mends."""
    return {"status": "alive"}


@router.get("/readyz", response_model=None, responses=problem_responses(s503="what is missing"))
async def readyz(request: Request, parts: PartsOf) -> Response:
    """A model is loaded, and no backlog is being read; a broker's outage alone changes nothing."""
    why = []
    if parts.model.current is None:
        model = _model(parts, in_full=_is_known(request, parts))
        why.append(f"no model: {model['detail']}")
    state = parts.board.status.state
    if state in (FeedState.STARTING, FeedState.REBUILDING):
        why.append(f"the feed is {state}")
    if why:
        body = {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "; ".join(why),
            "instance": "/readyz",
        }
        return JSONResponse(body, 503, {"Retry-After": "2"}, PROBLEM_JSON)
    return JSONResponse({"status": "ready"})


@router.get(
    "/health",
    response_model=None,
    responses={503: {"description": "the same, when a part is not well"}},
)
async def health(request: Request, parts: PartsOf) -> Response:
    """Every part; in detail for who says who they are. 503 if any is not well."""
    in_full = _is_known(request, parts)
    model = _model(parts, in_full=in_full)
    checks: dict[str, dict[str, Any]] = {
        "model": {"ok": model["version"] is not None, **model},
        "feed": _feed(parts, in_full=in_full),
    }
    well = all(check["ok"] for check in checks.values())
    body = {
        "status": "ok" if well else "unavailable",
        "version": parts.version,
        "model_version": model["version"],
        "checks": checks,
        "streams": len(parts.hub),
    }
    return JSONResponse(body, 200 if well else 503)


@router.get("/metrics", response_model=None, response_class=PlainTextResponse)
def metrics(parts: PartsOf) -> Response:
    """Prometheus exposition."""
    body, content_type = parts.metrics.render()
    return Response(body, media_type=content_type)


def _is_known(request: Request, parts: Parts) -> bool:
    """Whether the caller is someone; a wrong token counts here as everywhere."""
    try:
        return parts.authenticator.identify(request) is not None
    except Problem:  # it has to wait before it may try another token
        return False


def _model(parts: Parts, *, in_full: bool) -> dict[str, Any]:
    model = describe_model(parts.model)
    if in_full:
        return model
    detail = _MODEL_TROUBLE if parts.model.status.problem else model["detail"]
    rejected = model["rejected"] and {**model["rejected"], "reason": "the log says why"}
    return {**model, "detail": detail, "rejected": rejected}


def _feed(parts: Parts, *, in_full: bool) -> dict[str, Any]:
    feed = parts.board.status
    described = {
        "ok": feed.state is FeedState.LIVE,
        **describe_feed(feed),
        "topic": parts.settings.output_topic,
        "brokers": parts.settings.kafka_bootstrap_servers,
        "lag": feed.lag,
        "lag_ms": feed.delay_ms,
        "stream": describe_stream(feed),
    }
    if in_full:
        return described
    detail = _FEED_TROUBLE if feed.state is FeedState.WAITING else feed.detail
    return {**described, "detail": detail, "topic": None, "brokers": None}
