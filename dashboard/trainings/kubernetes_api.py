"""A small client of the Kubernetes API: JSON over HTTPS with the credentials of the pod.

Token and CA are read for each request, because the kubelet replaces them before they expire
(https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/). Proxies of the environment
are not used: the API server is in the cluster.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

ADDRESS: Final = "https://kubernetes.default.svc"
"""The name that the certificate of every API server is valid for."""

CREDENTIALS: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

SECONDS: Final = 5.0
"""For a whole request. The API server answers within milliseconds, or something is wrong."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""Of a response. A list of Jobs, which the CronJob limits to a few, has some kilobytes each."""

_CHUNK_BYTES: Final = 64 * 1024
_MESSAGE_MAX: Final = 300  # characters

Query = Mapping[str, str | int]


class ApiError(Exception):
    """The API server refused a request, or did not answer it. ``status`` is None if not."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class KubernetesApi:
    """Requests to one API server. Any thread may use it.

    Args:
        credentials: the folder with the files ``token`` and ``ca.crt``.
        address: of the API server.
        seconds: for a whole request.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        credentials: Path = CREDENTIALS,
        address: str = ADDRESS,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._address = urlsplit(address)
        self._seconds = seconds
        self._clock = clock

    def get(self, *path: str, query: Query | None = None) -> dict[str, Any]:
        """An object or a list.

        Raises:
            ApiError: there is no such object, or the request failed.
        """
        return _parse(self._request("GET", path, query or {}))

    def get_text(self, *path: str, query: Query | None = None) -> str:
        """A text, such as a log.

        Raises:
            ApiError: as :meth:`get`.
        """
        return self._request("GET", path, query or {}).decode("utf-8", "replace")

    def create(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object.

        Raises:
            ApiError: as :meth:`get`. With status 409 an object of this name exists.
        """
        return _parse(self._request("POST", path, {}, json.dumps(body).encode()))

    def replace(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object.

        Raises:
            ApiError: as :meth:`get`. With status 409 somebody has changed it since it was read.
        """
        return _parse(self._request("PUT", path, {}, json.dumps(body).encode()))

    def delete(self, *path: str, body: Mapping[str, Any]) -> None:
        """Delete an object; ``body`` has the DeleteOptions.

        Raises:
            ApiError: as :meth:`get`. With status 409 a precondition is not met.
        """
        self._request("DELETE", path, {}, json.dumps(body).encode())

    def _request(
        self, method: str, path: tuple[str, ...], query: Query, body: bytes | None = None
    ) -> bytes:
        target = "/" + "/".join(quote(part, safe="") for part in path)
        if query:
            target += f"?{urlencode(query)}"
        deadline = self._clock() + self._seconds
        connection: http.client.HTTPSConnection | None = None
        try:
            headers = {
                "Authorization": f"Bearer {self._token()}",
                "Accept": "application/json, */*",
                "Content-Type": "application/json",
            }
            connection = self._connect()
            connection.request(method, target, body, headers)
            # http.client hands the socket over to a response that ends the connection.
            with connection.getresponse() as response:
                content = self._read(connection, response, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{self._address.netloc} does not answer: {_say(error)}") from error
        finally:
            if connection is not None:
                connection.close()
        if not 200 <= response.status < 300:
            raise ApiError(_message(content, response.reason), response.status)
        return content

    def _token(self) -> str:
        return (self._credentials / "token").read_text(encoding="ascii", errors="replace").strip()

    def _connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._credentials / "ca.crt"))
        # Since Python 3.13 this is on, and refuses the certificates of many clusters, which have no
        # authority key identifier. They are verified against the cluster's own CA all the same.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return http.client.HTTPSConnection(
            self._address.hostname or "", self._address.port, timeout=self._seconds, context=context
        )

    def _read(
        self,
        connection: http.client.HTTPSConnection,
        response: http.client.HTTPResponse,
        deadline: float,
    ) -> bytes:
        """The body, within the limits of time and size."""
        content = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            left = deadline - self._clock()
            if left <= 0:
                raise TimeoutError(f"no whole response within {self._seconds:g} s")
            if len(content) > MAX_BYTES:
                raise ApiError(f"the response is larger than {MAX_BYTES >> 20} MiB")
            if connection.sock is not None:
                connection.sock.settimeout(left)
        return bytes(content)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ApiError(f"the response is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ApiError("the response is not a JSON object")
    return found


def _message(content: bytes, reason: str) -> str:
    """The message of a Status object, in which the API server says what is wrong."""
    try:
        found = json.loads(content).get("message")
    except (ValueError, AttributeError):
        found = None
    return (found if isinstance(found, str) and found else reason)[:_MESSAGE_MAX]


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__
