"""``/livez``, ``/readyz``, ``/health``, ``/metrics``: for machines; no authentication."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from dashboard.feed.board import FeedState
from dashboard.live.ticks import describe_feed, describe_stream
from dashboard.model_status import describe_model
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import problem_responses
from dashboard.web.problems import PROBLEM_JSON

router = APIRouter(tags=["probes"])
PartsOf = Annotated[Parts, Depends(parts_of)]


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process turns; says nothing of Kafka or the store, whose outage no restart mends."""
    return {"status": "alive"}


@router.get("/readyz", response_model=None, responses=problem_responses(s503="what is missing"))
async def readyz(parts: PartsOf) -> Response:
    """A model is loaded, and no backlog is being read; a broker's outage alone changes nothing."""
    why = []
    if parts.model.current is None:
        why.append(f"no model: {describe_model(parts.model)['detail']}")
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
async def health(parts: PartsOf) -> Response:
    """Every part in detail; 503 if any is not well."""
    feed = parts.board.status
    model = describe_model(parts.model)
    checks: dict[str, dict[str, Any]] = {
        "model": {"ok": model["version"] is not None, **model},
        "feed": {
            "ok": feed.state is FeedState.LIVE,
            **describe_feed(feed),
            "topic": parts.settings.output_topic,
            "brokers": parts.settings.kafka_bootstrap_servers,
            "lag": feed.lag,
            "lag_ms": feed.delay_ms,
            "stream": describe_stream(feed),
        },
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
