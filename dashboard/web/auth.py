"""Who is asking: nobody in particular, a token's holder, or a proxy's user."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.settings import DashboardSettings, Network, is_loopback
from dashboard.web.problems import Problem, render_problem, wants_page
from dashboard.web.sealing import Sealer
from dashboard.web.tokens import Entry, Identity, TokensFile

COOKIE: Final = "fraud_dashboard"
SESSION_SECONDS: Final = 12 * 3600  # a working day
_OPEN_PATHS: Final = frozenset(
    {"/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/login", "/logout"}
)
_PROBES: Final = frozenset({"/health", "/livez", "/readyz", "/metrics"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator(Protocol):
    """One way to tell who is asking."""

    def identify(self, request: Request) -> Identity | None:
        """The one who asks; None if that is not known."""
        ...


class Nobody:
    """``DASHBOARD_AUTH=none``: whoever reaches the address may look."""

    def identify(self, request: Request) -> Identity:  # noqa: ARG002 - the port's
        """Always the same local user."""
        return Identity("local", "lead")


class TokenAuth:
    """``DASHBOARD_AUTH=token``: a bearer token, or the session cookie made from one."""

    def __init__(
        self, tokens: TokensFile, sealer: Sealer, clock: Callable[[], float] = time.time
    ) -> None:
        self._tokens = tokens
        self._sealer = sealer
        self._clock = clock

    def identify(self, request: Request) -> Identity | None:
        """The holder of the bearer token, else of the session."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            entry = self._tokens.find(token.strip()) if scheme.lower() == "bearer" else None
            return entry.identity if entry else None
        return self._resume(request.cookies.get(COOKIE, ""))

    def log_in(self, token: str) -> str | None:
        """The cookie for a token's holder; None if nobody holds it."""
        entry = self._tokens.find(token)
        if entry is None:
            return None
        until = int(self._clock()) + SESSION_SECONDS
        return self._sealer.seal("session", [entry.identity.name, until, _hint(entry)])

    def _resume(self, cookie: str) -> Identity | None:
        session = self._sealer.unseal("session", cookie) if cookie else None
        if session is None:
            return None
        name, until, hint = session
        entry = self._tokens.entries.get(name)
        if entry is None or self._clock() >= until or hint != _hint(entry):
            return None
        return entry.identity


class ProxyAuth:
    """``DASHBOARD_AUTH=proxy``: a header, believed only from the proxies' own addresses."""

    def __init__(self, header: str, networks: tuple[Network, ...]) -> None:
        self._header = header
        self._networks = networks

    def identify(self, request: Request) -> Identity | None:
        """The user the proxy names."""
        names = request.headers.getlist(self._header)
        if request.client is None or len(names) != 1 or not names[0].strip():
            return None
        try:
            address = ipaddress.ip_address(request.client.host)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not any(address in network for network in self._networks):
            return None
        return Identity(names[0].strip()[:64], "analyst")


def build_authenticator(settings: DashboardSettings, sealer: Sealer) -> Authenticator:
    """The authenticator the settings name.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    if settings.dashboard_auth == "token" and settings.dashboard_tokens_file:
        return TokenAuth(TokensFile(settings.dashboard_tokens_file), sealer)
    if settings.dashboard_auth == "proxy":
        return ProxyAuth(settings.dashboard_proxy_header, settings.proxy_networks)
    return Nobody()


class Gate:
    """Middleware: no one unknown gets past it, and no other site's page acts through a browser."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, *, local_only: bool) -> None:
        self._app = app
        self._authenticator = authenticator
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._check(Request(scope))
        await (answer or self._app)(scope, receive, send)

    def _check(self, request: Request) -> Response | None:
        path = request.url.path
        host = request.headers.get("host", "")
        # A name that merely resolves to 127.0.0.1 (DNS rebinding) must not open the page.
        if self._local_only and path not in _PROBES and not is_loopback(_hostname(host)):
            return render_problem(request, Problem(421, f"{host!r} is not served here"))
        if request.method not in _SAFE_METHODS and is_cross_site(request.headers):
            return render_problem(request, Problem(403, "the request comes from another site"))
        if path in _OPEN_PATHS or path.startswith("/static/"):
            return None
        identity = self._authenticator.identify(request)
        if identity is None:
            return self._refuse(request)
        request.scope.setdefault("state", {})["identity"] = identity
        return None

    def _refuse(self, request: Request) -> Response:
        if isinstance(self._authenticator, TokenAuth):
            if wants_page(request):
                wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
            return render_problem(
                request,
                Problem(
                    401,
                    "send a token: Authorization: Bearer …",
                    headers={"WWW-Authenticate": 'Bearer realm="fraud dashboard"'},
                ),
            )
        return render_problem(request, Problem(401, "the proxy in front names no user"))


def is_cross_site(headers: Headers | Mapping[str, str]) -> bool:
    """Whether a browser says that another site's page makes this request."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def local_path(wanted: str) -> str:
    """``wanted`` if it is a path on this site, else the first page: no open redirect."""
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_local and wanted.isprintable() else "/"


def identity_of(request: Request) -> Identity | None:
    """Who asks, as the gate found out."""
    found: Any = request.scope.get("state", {}).get("identity")
    return found if isinstance(found, Identity) else None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _hint(entry: Entry) -> str:
    """Ties a session to the token it was made from, without revealing its hash."""
    return entry.digest[:8]
