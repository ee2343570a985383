"""Who is asking: nobody in particular, a token's holder, or a proxy's user."""

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
from dashboard.web.limits import Buckets, client_key, parse_address, too_many
from dashboard.web.problems import Problem, render_problem, wants_page
from dashboard.web.sealing import Sealer
from dashboard.web.tokens import Entry, Identity, TokensFile, hash_token

log = logging.getLogger(__name__)

TOO_MANY_TOKENS: Final = "too many wrong tokens came from this address"
HEAD_MAX_BYTES: Final = 32 * 1024
"""Request line and headers; a cookie and a proxy's additions are a few kilobytes."""

COOKIE: Final = "fraud_dashboard"
SESSION_SECONDS: Final = 12 * 3600  # a working day
_OPEN_PATHS: Final = frozenset(
    {"/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/login", "/logout"}
)
_PROBES: Final = frozenset({"/health", "/livez", "/readyz", "/metrics"})
_MAX_SEEN: Final = 1000  # tokens in use; far more than a tokens file has
_MAX_NAME_CHARS: Final = 254  # of an e-mail address
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


LOCAL: Final = Identity("local", "lead")
"""Whoever reaches an address where nobody is asked who they are."""


class Authenticator(Protocol):
    """One way to tell who is asking."""

    def identify(self, request: Request) -> Identity | None:
        """The one who asks; None if that is not known."""
        ...

    def still_knows(self, request: Request) -> bool:
        """Whether who asked a while ago would be known now; counts as no try at a token."""
        ...


class Nobody:
    """``DASHBOARD_AUTH=none``: whoever reaches the address may look."""

    def identify(self, request: Request) -> Identity:  # noqa: ARG002 - the port's
        """Always the same local user."""
        return LOCAL

    def still_knows(self, request: Request) -> bool:  # noqa: ARG002 - the port's
        """Yes."""
        return True


class TokenAuth:
    """``DASHBOARD_AUTH=token``: a bearer token, or the session cookie made from one."""

    def __init__(
        self,
        tokens: TokensFile,
        sealer: Sealer,
        clock: Callable[[], float] = time.time,
        failures: Buckets | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        self._tokens = tokens
        self._sealer = sealer
        self._clock = clock
        self._failures = Buckets(0, 0) if failures is None else failures
        self._proxies = proxies
        self._seen: OrderedDict[str, None] = OrderedDict()

    def identify(self, request: Request) -> Identity | None:
        """The holder of the bearer token, else of the session."""
        token = _bearer(request)
        if token is None:
            return self._resume(request.cookies.get(COOKIE, ""))
        return self._by_token(request, token) if token else None

    def still_knows(self, request: Request) -> bool:
        """Whether the tokens file still holds that token, or the session goes on."""
        token = _bearer(request)
        if token is None:
            return self._resume(request.cookies.get(COOKIE, "")) is not None
        return self._tokens.find(token) is not None

    def wait_seconds(self, request: Request) -> float:
        """How long this address may not try another token; 0 when it may now."""
        return self._failures.wait_seconds(client_key(request, self._proxies))

    def note_failure(self, request: Request) -> None:
        """A wrong token came from this address."""
        key = client_key(request, self._proxies)
        self._failures.charge(key, 1)
        log.warning("a wrong token was presented", extra={"client": key})

    def log_in(self, token: str) -> str | None:
        """The cookie for a token's holder; None if nobody holds it."""
        entry = self._tokens.find(token)
        if entry is None:
            return None
        until = int(self._clock()) + SESSION_SECONDS
        return self._sealer.seal("session", [entry.identity.name, until, _hint(entry)])

    def _by_token(self, request: Request, token: str) -> Identity | None:
        """The token's holder.

        Raises:
            Problem: 429, nothing was looked up: too many wrong ones came from this address. Tokens
                that were right a while ago pass, or one guesser would lock out everybody behind
                the same proxy.
        """
        digest = hash_token(token)
        wait = self.wait_seconds(request)
        if wait and digest not in self._seen:
            raise too_many(TOO_MANY_TOKENS, wait)
        entry = self._tokens.find(token)
        if entry is None:
            self._seen.pop(digest, None)
            self.note_failure(request)
            return None
        self._seen[digest] = None
        self._seen.move_to_end(digest)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        return entry.identity

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
        if request.client is None or len(names) != 1:
            return None
        name = names[0].strip()
        if not 0 < len(name) <= _MAX_NAME_CHARS:  # cut, two of them could be the same user
            return None
        address = parse_address(request.client.host)
        if address is None or not any(address in network for network in self._networks):
            return None
        return Identity(name, "analyst")

    def still_knows(self, request: Request) -> bool:
        """As before: the proxy says once, at the start, who asks."""
        return self.identify(request) is not None


def build_authenticator(settings: DashboardSettings, sealer: Sealer) -> Authenticator:
    """The authenticator the settings name.

    Raises:
        SettingsError: the tokens file cannot be used.
    """
    if settings.dashboard_auth == "token" and settings.dashboard_tokens_file:
        per_minute = settings.dashboard_failed_logins_per_minute
        failures = Buckets(per_minute / 60, per_minute)
        tokens = TokensFile(settings.dashboard_tokens_file)
        return TokenAuth(tokens, sealer, failures=failures, proxies=settings.proxy_networks)
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
        if _head_bytes(request.scope) > HEAD_MAX_BYTES:
            problem = Problem(431, f"the headers are larger than {HEAD_MAX_BYTES:,} bytes")
            return render_problem(request, problem)
        path = request.url.path
        host = request.headers.get("host", "")
        # A name that merely resolves to 127.0.0.1 (DNS rebinding) must not open the page.
        if self._local_only and path not in _PROBES and not is_loopback(_hostname(host)):
            return render_problem(request, Problem(421, f"{host!r} is not served here"))
        if request.method not in _SAFE_METHODS and is_cross_site(request.headers):
            return render_problem(
                request, Problem(403, "the request comes from another site", headers=_end(request))
            )
        if path in _OPEN_PATHS or path.startswith("/static/"):
            return None
        try:
            identity = self._authenticator.identify(request)
        except Problem as problem:
            return render_problem(request, problem)
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
                    headers={"WWW-Authenticate": 'Bearer realm="fraud dashboard"', **_end(request)},
                ),
            )
        return render_problem(
            request, Problem(401, "the proxy in front names no user", headers=_end(request))
        )


def is_cross_site(headers: Headers | Mapping[str, str]) -> bool:
    """Whether a browser says that another site's page makes this request."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host")
    except ValueError:  # half an IPv6 address: no browser's origin
        return True


def local_path(wanted: str) -> str:
    """``wanted`` if it is a path on this site, else the first page: no open redirect."""
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_local and wanted.isprintable() else "/"


def identity_of(request: Request) -> Identity | None:
    """Who asks, as the gate found out."""
    found: Any = request.scope.get("state", {}).get("identity")
    return found if isinstance(found, Identity) else None


def _end(request: Request) -> dict[str, str]:
    """Ends the connection of one who is refused: a body that may never end is not read."""
    return {} if request.method in _SAFE_METHODS else {"Connection": "close"}


def _head_bytes(scope: Scope) -> int:
    """What the parser lets through at once can be larger than what it waits for."""
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope.get("raw_path") or b"") + len(scope["query_string"])


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _bearer(request: Request) -> str | None:
    """The bearer token; empty if another kind of authorization is sent, None without any."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    return token.strip() if scheme.lower() == "bearer" else ""


def _hint(entry: Entry) -> str:
    """Ties a session to the token it was made from, without revealing its hash."""
    return entry.digest[:8]
