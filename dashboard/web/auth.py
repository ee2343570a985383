"""Authentication: none, by token, or by a trusted proxy."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.settings import DashboardSettings, Network, is_loopback
from dashboard.web.limits import RateLimiter, client_key, too_many_requests
from dashboard.web.problems import Problem, is_framed, render_problem, wants_page
from dashboard.web.proxy import ProxyAuth
from dashboard.web.sealing import Sealer
from dashboard.web.tokens import (
    LONG_CHARS,
    Entry,
    Identity,
    TokensFile,
    WebhookTokens,
    hash_token,
)

log = logging.getLogger(__name__)

TOO_MANY_WRONG_TOKENS: Final = "too many wrong tokens came from this address"
HEAD_MAX_BYTES: Final = 32 * 1024
"""Limit of request line and headers. A cookie and a proxy's headers need a few kilobytes."""

COOKIE: Final = "fraud_dashboard"
SESSION_SECONDS: Final = 12 * 3600  # a working day
_PUBLIC_PATHS: Final = frozenset(
    {"/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/login", "/logout"}
)
PROBES: Final = frozenset({"/health", "/livez", "/readyz", "/metrics"})
"""The paths that are answered without authentication, and beyond the limits on connections."""

_MAX_VERIFIED: Final = 1000  # far more tokens than a tokens file has
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

LOCAL: Final = Identity("local", "lead")
"""The user of every request with ``DASHBOARD_AUTH=none``."""


class Authenticator(Protocol):
    """One way to authenticate requests."""

    def identify(self, request: Request) -> Identity | None:
        """The user of the request. None if the request is not authenticated."""
        ...

    def is_still_authorized(self, request: Request) -> bool:
        """Whether an open request is still authorized. Never counts as a failed login."""
        ...


class NoAuth:
    """``DASHBOARD_AUTH=none``: every request is allowed."""

    def identify(self, request: Request) -> Identity:  # noqa: ARG002 - required by the port
        """Always the local user."""
        return LOCAL

    def is_still_authorized(self, request: Request) -> bool:  # noqa: ARG002 - required by the port
        """Always true."""
        return True


class TokenAuth:
    """``DASHBOARD_AUTH=token``: a bearer token, or the session cookie issued for one."""

    def __init__(
        self,
        tokens: TokensFile,
        sealer: Sealer,
        clock: Callable[[], float] = time.time,
        failures: RateLimiter | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        self._tokens = tokens
        self._sealer = sealer
        self._clock = clock
        self._failures = RateLimiter(0, 0) if failures is None else failures
        self._proxies = proxies
        self._verified: OrderedDict[str, None] = OrderedDict()

    def identify(self, request: Request) -> Identity | None:
        """The user of the bearer token. Without a token, the user of the session."""
        token = _bearer(request)
        if token is None:
            return self._from_session(request.cookies.get(COOKIE, ""))
        entry = self._find(request, token) if token else None
        return None if entry is None else entry.identity

    def is_still_authorized(self, request: Request) -> bool:
        """Whether the tokens file still has the token, or the session is still valid."""
        token = _bearer(request)
        if token is None:
            return self._from_session(request.cookies.get(COOKIE, "")) is not None
        return self._tokens.find(token) is not None

    def log_in(self, request: Request, token: str) -> str | None:
        """The session cookie for a token. None if the token is not in the tokens file.

        Raises:
            Problem: 429, as for a token in a header.
        """
        entry = self._find(request, token)
        if entry is None:
            return None
        until = int(self._clock()) + SESSION_SECONDS
        return self._sealer.seal("session", [entry.identity.name, until, _session_hint(entry)])

    def _find(self, request: Request, token: str) -> Entry | None:
        """The entry of a token. A wrong one is charged to the address that it came from.

        Raises:
            Problem: 429, too many wrong tokens came from this address, and this one is wrong too,
                or so short that it could be guessed: then it is not checked, unless it was valid
                before. A long one is, so that one attacker does not lock out all users behind the
                same address. It costs one hash, and 256 random bits cannot be guessed at any rate.
        """
        digest, key = hash_token(token), client_key(request, self._proxies)
        wait = self._failures.wait_seconds(key)
        if wait and len(token) < LONG_CHARS and digest not in self._verified:
            raise too_many_requests(TOO_MANY_WRONG_TOKENS, wait)
        entry = self._tokens.find(token)
        if entry is None:
            self._verified.pop(digest, None)
            if wait:
                raise too_many_requests(TOO_MANY_WRONG_TOKENS, wait)
            self._failures.charge(key, 1)
            log.warning("authentication failed: wrong token", extra={"client": key})
            return None
        self._verified[digest] = None
        self._verified.move_to_end(digest)
        if len(self._verified) > _MAX_VERIFIED:
            self._verified.popitem(last=False)
        return entry

    def _from_session(self, cookie: str) -> Identity | None:
        session = self._sealer.unseal("session", cookie) if cookie else None
        if session is None:
            return None
        name, until, hint = session
        entry = self._tokens.entries.get(name)
        if entry is None or self._clock() >= until or hint != _session_hint(entry):
            return None
        return entry.identity


def build_authenticator(settings: DashboardSettings, sealer: Sealer) -> Authenticator:
    """The authenticator that the settings select.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    if settings.dashboard_auth == "token" and settings.dashboard_tokens_file:
        per_minute = settings.dashboard_failed_logins_per_minute
        failures = RateLimiter(per_minute / 60, per_minute)
        tokens = TokensFile(settings.dashboard_tokens_file)
        return TokenAuth(tokens, sealer, failures=failures, proxies=settings.proxy_networks)
    if settings.dashboard_auth == "proxy":
        return ProxyAuth(
            settings.dashboard_proxy_header,
            settings.proxy_networks,
            settings.dashboard_proxy_role_header,
        )
    return NoAuth()


class AccessMiddleware:
    """Middleware: rejects unauthenticated, cross-site and oversized requests."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        *,
        local_only: bool,
        webhook: WebhookTokens,
    ) -> None:
        self._app = app
        self._webhook = webhook
        self._authenticator = authenticator
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rejection = self._check(Request(scope))
        await (rejection or self._app)(scope, receive, send)

    def _check(self, request: Request) -> Response | None:
        if _head_bytes(request.scope) > HEAD_MAX_BYTES:
            problem = Problem(431, f"the headers are larger than {HEAD_MAX_BYTES:,} bytes")
            return render_problem(request, problem)
        if {"content-length", "transfer-encoding"}.issubset(request.headers.keys()):
            # Two servers in a row may disagree where such a request ends (RFC 9112, section 6.3).
            why = "a request has either Content-Length or Transfer-Encoding"
            return render_problem(request, Problem(400, why, headers={"Connection": "close"}))
        path = request.url.path
        host = request.headers.get("host", "")
        # DNS rebinding: a foreign name that resolves to 127.0.0.1 must not open the page.
        if self._local_only and path not in PROBES and not is_loopback(_hostname(host)):
            return render_problem(request, Problem(421, f"this server does not serve {host!r}"))
        if request.method not in _SAFE_METHODS and is_cross_site(request.headers):
            return render_problem(
                request,
                Problem(403, "cross-site request not allowed", headers=_close_connection(request)),
            )
        if path in _PUBLIC_PATHS or path.startswith("/static/"):
            return None
        try:
            caller = self._webhook.find_caller(
                request.method, request.scope["path"], _bearer(request)
            )
            identity = caller or self._authenticator.identify(request)
        except Problem as problem:
            return render_problem(request, problem)
        if identity is None:
            return self._reject(request)
        request.scope.setdefault("state", {})["identity"] = identity
        return None

    def _reject(self, request: Request) -> Response:
        if isinstance(self._authenticator, TokenAuth):
            if is_framed(request):
                ended = "your session has ended: reload this page to log in again"
                return render_problem(request, Problem(401, ended))
            if wants_page(request) and request.method in _SAFE_METHODS:
                wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
            return render_problem(
                request,
                Problem(
                    401,
                    "authentication required: send the header Authorization: Bearer TOKEN",
                    headers={
                        "WWW-Authenticate": 'Bearer realm="fraud dashboard"',
                        **_close_connection(request),
                    },
                ),
            )
        return render_problem(
            request,
            Problem(
                401,
                "authentication required: no trusted proxy named a user",
                headers=_close_connection(request),
            ),
        )


def is_cross_site(headers: Headers | Mapping[str, str]) -> bool:
    """Whether the browser's headers show that a page of another site sent this request."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host")
    except ValueError:  # an incomplete IPv6 address, which no browser sends
        return True


def local_path(wanted: str) -> str:
    """``wanted`` if it is a path on this site, otherwise ``/``. Prevents open redirects."""
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_local and wanted.isprintable() else "/"


def identity_of(request: Request) -> Identity | None:
    """The authenticated user of a request. None on public paths."""
    found: Any = request.scope.get("state", {}).get("identity")
    return found if isinstance(found, Identity) else None


def _close_connection(request: Request) -> dict[str, str]:
    """The header that closes a rejected connection, so that its body need not be read."""
    return {} if request.method in _SAFE_METHODS else {"Connection": "close"}


def _head_bytes(scope: Scope) -> int:
    """The size of the head. The parser's own limit covers only a head that arrives in parts."""
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope.get("raw_path") or b"") + len(scope["query_string"])


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _bearer(request: Request) -> str | None:
    """The bearer token. Empty for another scheme, None without an Authorization header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    return token.strip() if scheme.lower() == "bearer" else ""


def _session_hint(entry: Entry) -> str:
    """Binds a session to the token it was issued for, without revealing the token's hash."""
    return entry.digest[:8]
