"""Login with a token in the browser. Programs send the token with each request instead."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from dashboard.web.auth import (
    COOKIE,
    SESSION_SECONDS,
    TokenAuth,
    local_path,
)
from dashboard.web.body import content_coding, read_body
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import Problem

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

_MAX_FORM_BYTES: Final = 4096
_MAX_FIELDS: Final = 10
FORM_SECONDS: Final = 5.0
"""Timeout for the form. Anyone may send one, and each slow one occupies a connection."""


@router.get("/login", response_model=None)
def login_form(request: Request, parts: PartsOf) -> Response:
    """The login form."""
    forbid_unknown(request, frozenset({"next"}))
    _token_auth(parts)
    return _form(request, parts, local_path(request.query_params.get("next", "/")))


@router.post("/login", response_model=None)
async def log_in(request: Request, parts: PartsOf) -> Response:
    """Exchange a token for a session cookie."""
    forbid_unknown(request, frozenset())
    auth = _token_auth(parts)
    content_coding(request)
    text = (await read_body(request, _MAX_FORM_BYTES, seconds=FORM_SECONDS)).decode(
        "utf-8", "replace"
    )
    try:
        fields = parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        reason = f"the form must have at most {_MAX_FIELDS} fields"
        raise Problem(422, reason, kind="invalid-input") from None
    wanted = local_path(fields.get("next", ["/"])[0])
    try:
        cookie = auth.log_in(request, fields.get("token", [""])[0].strip())
    except Problem as refused:
        return _form(request, parts, wanted, wait=refused)
    if cookie is None:
        return _form(request, parts, wanted, is_wrong=True)
    response = RedirectResponse(wanted, 303)
    is_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response.set_cookie(
        COOKIE, cookie, SESSION_SECONDS, httponly=True, samesite="lax", secure=is_https
    )
    return response


@router.post("/logout", response_model=None)
def log_out(request: Request, parts: PartsOf) -> Response:
    """Delete the session cookie."""
    forbid_unknown(request, frozenset())
    _token_auth(parts)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def _token_auth(parts: Parts) -> TokenAuth:
    if not isinstance(parts.authenticator, TokenAuth):
        raise Problem(404, "login is disabled: DASHBOARD_AUTH is not token")
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
