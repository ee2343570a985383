"""``/livez``, ``/readyz``, ``/health`` and ``/metrics``. They need no authentication.

Callers with the role ops or lead get the full reasons, which name hosts, storage buckets and
topics. Other callers learn only which check fails. The log has the reasons.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from dashboard.cases.desk import DeskStatus
from dashboard.feed.board import FeedState
from dashboard.history.past import HistoryStatus
from dashboard.live.ticks import describe_feed, describe_stream
from dashboard.model_status import describe_model
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import problem_responses
from dashboard.web.problems import PROBLEM_JSON, Problem
from dashboard.web.roles import HIDDEN, OPERATORS, has_role

router = APIRouter(tags=["probes"])
PartsOf = Annotated[Parts, Depends(parts_of)]

_DESK_PROBLEM: Final = f"there is a problem with Kafka or the topics of the desk; {HIDDEN}"
_FEED_PROBLEM: Final = f"there is a problem with Kafka or the scores topic; {HIDDEN}"


@router.get("/livez", summary="Whether the process responds")
async def livez() -> dict[str, str]:
    """The process responds. Ignores Kafka and the store: a restart does not fix their outage."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Whether this dashboard is ready",
    response_model=None,
    responses=problem_responses(s503="not ready"),
)
async def readyz(request: Request, parts: PartsOf) -> Response:
    """Ready when a model is loaded and the backlog has been read. Stays ready in a Kafka outage."""
    reasons = []
    if parts.model.current is None:
        model = _model(parts, in_full=_sees_reasons(request, parts))
        reasons.append(f"no model: {model['detail']}")
    state = parts.board.status.state
    if state in (FeedState.STARTING, FeedState.REBUILDING):
        reasons.append(f"the feed is {state}")
    if reasons:
        body = {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "; ".join(reasons),
            "instance": "/readyz",
        }
        return JSONResponse(body, 503, {"Retry-After": "2"}, PROBLEM_JSON)
    return JSONResponse({"status": "ready", "desk": parts.desk.status().state})


@router.get(
    "/health",
    summary="All checks",
    response_model=None,
    responses={503: {"description": "the same body, if a check fails"}},
)
async def health(request: Request, parts: PartsOf) -> Response:
    """All checks, with full reasons for the roles ops and lead. 503 if a check fails."""
    in_full = _sees_reasons(request, parts)
    model = _model(parts, in_full=in_full)
    checks: dict[str, dict[str, Any]] = {
        "model": {"ok": model["version"] is not None, **model},
        "feed": _feed(parts, in_full=in_full),
    }
    if (status := parts.histories.status()) is not None:
        checks["history"] = _history(status, in_full=in_full)
    is_healthy = all(check["ok"] for check in checks.values())
    # Not part of the verdict: without its topics the list can be read and decisions wait on disk.
    checks["desk"] = _desk(parts.desk.status(), in_full=in_full)
    body = {
        "status": "ok" if is_healthy else "unavailable",
        "version": parts.version,
        "model_version": model["version"],
        "checks": checks,
        "streams": len(parts.hub),
    }
    return JSONResponse(body, 200 if is_healthy else 503)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_model=None,
    response_class=PlainTextResponse,
)
async def metrics(parts: PartsOf) -> Response:
    """Metrics in the Prometheus text format."""
    # Not in a thread: all threads may be busy with requests that wait for a disk.
    body, content_type = parts.metrics.render()
    return Response(body, media_type=content_type)


def _sees_reasons(request: Request, parts: Parts) -> bool:
    """Whether the caller may see the words of drivers. A wrong token counts as a failed login."""
    try:
        return has_role(parts.authenticator.identify(request), OPERATORS)
    except Problem:  # too many failed logins from this address
        return False


def _model(parts: Parts, *, in_full: bool) -> dict[str, Any]:
    model = describe_model(parts.model, in_full=in_full)
    if in_full:
        return model
    rejected = model["rejected"] and {**model["rejected"], "reason": "see the log"}
    hidden = {"by": "see the log", "reason": "see the log", "refusals": ["see the log"]}
    override = model["override"] and {
        name: hidden.get(name, value) if value else value
        for name, value in model["override"].items()
    }
    return {**model, "rejected": rejected, "override": override}


def _history(status: HistoryStatus, *, in_full: bool) -> dict[str, Any]:
    return {"ok": status.is_complete, **status.as_json(in_full=in_full)}


def _desk(status: DeskStatus, *, in_full: bool) -> dict[str, Any]:
    return {
        "ok": status.is_ok,
        "state": status.state,
        "detail": status.detail if in_full or status.is_ok else _DESK_PROBLEM,
        "since": status.since,
        "missing": list(status.missing) if in_full else [],
        "waiting": status.waiting,
        "events_waiting": status.events_waiting,
        "lag": status.lag,
        "unreadable": status.unreadable,
        "restored": None if status.restored is None else status.restored._asdict(),
    }


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
        backlog = parts.board.backlog
        return {
            **described,
            "reason": feed.reason or None,
            "backlog": backlog.records,
            "backlog_reason": backlog.reason or backlog.detail or None,
        }
    detail = _FEED_PROBLEM if feed.state is FeedState.WAITING else feed.detail
    return {**described, "detail": detail, "topic": None, "brokers": None}
