"""Logging in with a token, for people; programs send it with each request."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from dashboard.web.auth import (
    COOKIE,
    SESSION_SECONDS,
    TOO_MANY_TOKENS,
    TokenAuth,
    local_path,
)
from dashboard.web.body import read_body
from dashboard.web.limits import too_many
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import Problem

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

_MAX_FORM_BYTES: Final = 4096


@router.get("/login", response_model=None)
def login_form(request: Request, parts: PartsOf) -> Response:
    """The form."""
    _token_auth(parts)
    return _form(request, parts, local_path(request.query_params.get("next", "/")))


@router.post("/login", response_model=None)
async def log_in(request: Request, parts: PartsOf) -> Response:
    """Exchange a token for a session cookie, or say that it is unknown."""
    auth = _token_auth(parts)
    if wait := auth.wait_seconds(request):
        return _form(request, parts, "/", wait=too_many(TOO_MANY_TOKENS, wait))
    text = (await read_body(request, _MAX_FORM_BYTES)).decode("utf-8", "replace")
    fields = parse_qs(text, max_num_fields=10)
    wanted = local_path(fields.get("next", ["/"])[0])
    cookie = auth.log_in(fields.get("token", [""])[0].strip())
    if cookie is None:
        auth.note_failure(request)
        return _form(request, parts, wanted, is_wrong=True)
    answer = RedirectResponse(wanted, 303)
    is_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    answer.set_cookie(
        COOKIE, cookie, SESSION_SECONDS, httponly=True, samesite="lax", secure=is_https
    )
    return answer


@router.post("/logout", response_model=None)
def log_out(parts: PartsOf) -> Response:
    """Forget the session."""
    _token_auth(parts)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def _token_auth(parts: Parts) -> TokenAuth:
    if not isinstance(parts.authenticator, TokenAuth):
        raise Problem(404, "nobody logs in here: DASHBOARD_AUTH is not token")
    return parts.authenticator


def _form(
    request: Request,
    parts: Parts,
    wanted: str,
    *,
    is_wrong: bool = False,
    wait: Problem | None = None,
) -> Response:
    context = {"next": wanted, "is_wrong": is_wrong, "wait": wait, "version": parts.version}
    status = wait.status if wait else 401 if is_wrong else 200
    page: Response = parts.templates.TemplateResponse(
        request, "login.html", context, status, wait.headers if wait else None
    )
    return page
