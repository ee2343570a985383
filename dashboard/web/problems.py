"""Errors as RFC 9457 problem details, or as an HTML page in a browser."""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from dashboard.cache.connection import CacheUnavailable
from dashboard.web.headers import REPORT_HEADERS
from dashboard.web.texts import format_sentence

log = logging.getLogger(__name__)

_FORM: Final = "application/x-www-form-urlencoded"
PROBLEM_JSON: Final = "application/problem+json"
_FRAMED: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{0}</title>'
    "<style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif}}</style>"
    "<p>{1}.</p></html>"
)


class Problem(Exception):
    """An error response.

    ``errors`` lists the faults. ``more`` adds members to the problem object.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "about:blank",
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = more


def render_problem(request: Request, problem: Problem) -> Response:
    """The problem as a response: JSON, or an HTML page if a browser navigates.

    Pages of the dashboard refuse to be framed, so a frame would stay empty: it gets the sentence.
    """
    if is_framed(request):
        title = http.HTTPStatus(problem.status).phrase
        text = _FRAMED.format(title, escape(format_sentence(problem.detail)))
        return HTMLResponse(text, problem.status, {**problem.headers, **REPORT_HEADERS})
    body: dict[str, Any] = {
        "type": problem.kind,
        "title": http.HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
        **problem.more,
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    if trace_id := request.scope.get("state", {}).get("request_id"):
        body["trace_id"] = trace_id
    if wants_page(request):
        templates = request.app.state.parts.templates
        page: Response = templates.TemplateResponse(
            request, "problem.html", {"problem": body}, problem.status, problem.headers
        )
        return page
    return JSONResponse(body, problem.status, problem.headers, PROBLEM_JSON)


def wants_page(request: Request) -> bool:
    """Whether a browser requests a page or sends a form, as opposed to a program."""
    path, headers = request.url.path, request.headers
    is_form = headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
    return (
        (request.method in ("GET", "HEAD") or is_form)
        and "text/html" in headers.get("accept", "")
        and not path.startswith(("/api/", "/static/"))
    )


def describe_fault(fault: Mapping[str, Any]) -> dict[str, str]:
    """A fault that pydantic found: the field, what is wrong with it, and its value."""
    field = ".".join(str(part) for part in fault["loc"])[:200] or "body"
    if fault["type"] == "extra_forbidden":
        return {"field": field, "reason": "unknown field"}
    if fault["type"] == "missing":
        return {"field": field, "reason": "this field is required"}
    reason = str(fault["msg"])
    if not isinstance(fault["input"], dict | list):
        reason = f"{reason}, not {_shown(fault['input'])}"
    return {"field": field, "reason": reason}


def _shown(value: object) -> str:
    """A value as the body has it: the number 4 is not the text '4'."""
    if isinstance(value, str):
        return repr(value[:60])
    return orjson.dumps(value, default=str).decode()[:60]


def is_framed(request: Request) -> bool:
    """Whether the response is for a frame of a page."""
    return request.headers.get("sec-fetch-dest") == "iframe"


def install(app: FastAPI) -> None:
    """Render every error of ``app`` as a problem, including those of FastAPI and Starlette."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(CacheUnavailable, _on_unavailable_cache)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - guaranteed by the registration
    return render_problem(request, error)


async def _on_unavailable_cache(request: Request, error: Exception) -> Response:
    log.warning("%s", error)
    problem = Problem(
        503,
        "the cache of this dashboard is gone, and is made again from the topics: try again",
        kind="cache-unavailable",
        headers={"Retry-After": "2"},
    )
    return render_problem(request, problem)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - see above
    detail = {
        404: f"{request.url.path} not found",
        405: f"method {request.method} is not allowed for {request.url.path}",
    }.get(error.status_code, str(error.detail))
    return render_problem(request, Problem(error.status_code, detail, headers=error.headers))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - see above
    faults = [describe_fault({**fault, "loc": fault["loc"][1:]}) for fault in error.errors()]
    first = faults[0]
    problem = Problem(422, f"invalid {first['field']}: {first['reason']}", errors=faults)
    return render_problem(request, problem)
