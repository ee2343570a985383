"""Moves MLflow's alias ``champion`` with requests of its REST API, and without its client.

The dashboard uses this: MLflow's client is larger than the dashboard. The requests are those of
``MlflowLog.move_alias`` in the trainer; a test runs both against a real server
(https://mlflow.org/docs/latest/rest-api.html).
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.text import printable
from stream_scorer.tracking.identity import ALIAS, REGISTERED_MODEL

SECONDS: Final = 10.0
"""For all requests together, as the trainer waits for a server that does not answer."""

_MAX_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_PAGES_MAX: Final = 20
_MESSAGE_MAX: Final = 300  # characters
_DOES_NOT_EXIST: Final = "RESOURCE_DOES_NOT_EXIST"
_HINTS: Final = {
    401: "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "the credentials do not permit this",
    404: "check the path in MLFLOW_TRACKING_URI: the server does not know this address",
}
_REDIRECTS: Final = range(300, 400)


class TrackingError(Exception):
    """The server refused a request, or did not answer; the message is for people."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class TrackingServer:
    """Where the server is, and who asks. A user and a password count before a token."""

    uri: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def move_alias(
    server: TrackingServer,
    wanted: Mapping[str, str],
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Let the alias name the registered version with the tags ``wanted``.

    If none has them, the alias is removed, so that nobody takes another version for the promoted
    one.

    Args:
        server: the server.
        wanted: the :func:`~stream_scorer.tracking.identity.identity_tags` of the promoted version.
        seconds: for all requests together.
        clock: monotonic seconds.

    Returns:
        The registered version; None if there is none.

    Raises:
        TrackingError: the server refused a request, or did not answer.
    """
    api = _Api(server, clock() + seconds, clock)
    found = next((v for v in _versions(api, wanted) if _has(v, wanted)), None)
    body = {"name": REGISTERED_MODEL, "alias": ALIAS}
    if found is not None:
        number = str(found.get("version"))
        api.request("POST", "registered-models/alias", {**body, "version": number})
        return number
    try:
        api.request("DELETE", "registered-models/alias", body)
    except TrackingError as error:
        if error.code != _DOES_NOT_EXIST:
            raise
    return None


def _versions(api: _Api, wanted: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """The registered versions whose number in the store is the wanted one."""
    query = {
        "filter": f"name = '{REGISTERED_MODEL}' AND "
        f"tags.model_version = '{wanted['model_version']}'"
    }
    for _ in range(_PAGES_MAX):
        page = api.request("GET", f"model-versions/search?{urlencode(query)}")
        found = page.get("model_versions")
        yield from (one for one in found or () if isinstance(one, Mapping))
        token = page.get("next_page_token")
        if not isinstance(token, str) or not token:
            return
        query["page_token"] = token


def _has(version: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    tags = {t.get("key"): t.get("value") for t in version.get("tags") or ()}
    return all(tags.get(name) == value for name, value in wanted.items())


class _Api:
    """Requests to the server until a deadline."""

    def __init__(self, server: TrackingServer, deadline: float, clock: Callable[[], float]) -> None:
        self._where = urlsplit(server.uri)
        if self._where.scheme not in ("http", "https") or not self._where.hostname:
            raise TrackingError(
                f"MLFLOW_TRACKING_URI={mask_userinfo(server.uri)} is not an address with http:// "
                "or https://, and the dashboard knows no other"
            )
        self._headers = {"Content-Type": "application/json", **_credentials(server, self._where)}
        self._deadline = deadline
        self._clock = clock

    def request(
        self, method: str, path: str, body: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """One request; returns the JSON object of the answer.

        Raises:
            TrackingError: it was refused or not answered.
        """
        secure = self._where.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        target = f"{self._where.path.rstrip('/')}/api/2.0/mlflow/{path}"
        try:
            connection = connect(self._where.hostname or "", self._where.port, timeout=self._left())
            with closing(connection), _ended_after(connection, self._left()):
                content = None if body is None else json.dumps(body).encode()
                connection.request(method, target, content, self._headers)
                with connection.getresponse() as response:
                    answer = self._read(connection, response)
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = "it took too long" if self._is_over else _line(str(error))
            raise TrackingError(f"{self._host} does not answer: {why}") from error
        found = _parse(answer)
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, response.reason, found)
        return found

    @property
    def _host(self) -> str:
        return self._where.netloc.rpartition("@")[2]

    @property
    def _is_over(self) -> bool:
        return self._clock() >= self._deadline

    def _left(self) -> float:
        if self._is_over:
            raise TimeoutError
        return self._deadline - self._clock()

    def _read(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> bytes:
        content = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > _MAX_BYTES:
                raise ValueError(f"its answer is larger than {_MAX_BYTES >> 20} MiB")
            left = self._left()
            if connection.sock is not None:
                connection.sock.settimeout(left)
        return bytes(content)

    def _refusal(self, status: int, reason: str, answer: Mapping[str, Any]) -> TrackingError:
        code, message = (str(answer.get(name) or "") for name in ("error_code", "message"))
        text = f"{self._host} answers {status}: {_line(message or reason)}"
        if status in _REDIRECTS:
            hint: str | None = "set MLFLOW_TRACKING_URI to the address that it redirects to"
        else:
            hint = None if code else _HINTS.get(status)
        return TrackingError(f"{text} ({hint})" if hint else text, code)


@contextmanager
def _ended_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """End the connection after ``seconds``: an answer whose header comes byte by byte has no end.

    The socket's own timeout is for each byte.
    """

    def end() -> None:
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _credentials(server: TrackingServer, where: SplitResult) -> dict[str, str]:
    user, password = server.username, server.password
    if not user and where.username:
        user, password = unquote(where.username), unquote(where.password or "")
    if user:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {server.token}"} if server.token else {}


def _parse(content: bytes) -> dict[str, Any]:
    """The object of an answer; empty if it is none, as the page of a proxy."""
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _line(text: str) -> str:
    return printable(mask_userinfo(" ".join(text.split()))[:_MESSAGE_MAX])
