"""A minimal Schema Registry on a loopback port, with faults on request."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class HttpRegistry:
    """Schemas by id and GUID.

    If ``fail_with`` is set, every request gets that status. ``answers`` gives the status and the
    body, byte for byte, of single paths.
    """

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self.global_level = "NONE"
        self.requests: list[str] = []
        self.authorizations: list[str | None] = []
        self.fail_with: int | None = None
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.url = ""

    def add(
        self, schema: Any, schema_type: str = "AVRO", references: tuple[tuple[str, str], ...] = ()
    ) -> tuple[int, bytes]:
        """Add a schema without a subject; returns its id and GUID.

        ``references`` are (full name, subject), in version 1.
        """
        guid = uuid.uuid4()
        text = schema if isinstance(schema, str) else json.dumps(schema)
        self.schemas.append({"schema": text, "schemaType": schema_type, "guid": str(guid)})
        if references:
            self.schemas[-1]["references"] = [
                {"name": name, "subject": subject, "version": 1} for name, subject in references
            ]
        return len(self.schemas), guid.bytes

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and body for one request."""
        if self.fail_with is not None:
            return self.fail_with, {"error_code": self.fail_with, "message": "out of order"}
        parts = [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]
        if parts[:2] == ["schemas", "types"]:
            return 200, ["AVRO"]
        if parts[:2] == ["schemas", "ids"]:
            return self._schema(int(parts[2]))
        if parts[:2] == ["schemas", "guids"]:
            found = [i for i, s in enumerate(self.schemas, 1) if s["guid"] == parts[2]]
            return self._schema(found[0] if found else 0)
        if parts[0] == "subjects" and parts[2:] == ["versions", "1"]:
            known_id = self.subjects.get(parts[1], [0])[0]
            status, known = self._schema(known_id)
            return status, {**known, "subject": parts[1], "version": 1, "id": known_id}
        if parts[0] == "subjects" and method == "POST":
            return self._register(parts[1], body)
        if parts[0] == "config":
            return self._config(method, parts[1:], body)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _schema(self, schema_id: int) -> tuple[int, Any]:
        if not 1 <= schema_id <= len(self.schemas):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self.schemas[schema_id - 1]

    def _register(self, subject: str, body: Any) -> tuple[int, Any]:
        for i, known in enumerate(self.schemas, 1):
            if known["schema"] == body["schema"]:
                self.subjects.setdefault(subject, []).append(i)
                return 200, {"id": i, "guid": known["guid"]}
        if self.subjects.get(subject):
            return 409, {"error_code": 409, "message": "Schema being registered is incompatible"}
        schema_id, _ = self.add(body["schema"])
        self.subjects[subject] = [schema_id]
        return 200, {"id": schema_id, "guid": self.schemas[-1]["guid"]}

    def _config(self, method: str, subject: list[str], body: Any) -> tuple[int, Any]:
        if method == "PUT":
            self.levels[subject[0]] = body["compatibility"]
            return 200, body
        if not subject:
            return 200, {"compatibilityLevel": self.global_level}
        if subject[0] not in self.levels:
            return 404, {"error_code": 40408, "message": "no subject-level compatibility"}
        return 200, {"compatibilityLevel": self.levels[subject[0]]}


@contextmanager
def running_registry(
    certificate: Path | None = None, user_info: str | None = None
) -> Iterator[HttpRegistry]:
    """A running registry.

    Args:
        certificate: a PEM file with key and certificate; if given, the registry uses TLS.
        user_info: ``user:password`` that clients must send (HTTP basic authentication).
    """
    registry = HttpRegistry()
    wanted = user_info and "Basic " + base64.b64encode(user_info.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            registry.requests.append(f"{self.command} {self.path}")
            registry.authorizations.append(self.headers.get("Authorization"))
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = registry.answer(self.command, self.path, body)
            if wanted and self.headers.get("Authorization") != wanted:
                status, answer = 401, {"error_code": 401, "message": "Unauthorized"}
            data = json.dumps(answer).encode()
            status, data = registry.answers.get(urlsplit(self.path).path, (status, data))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 - the names http.server calls

        def log_message(self, *_: Any) -> None:
            """Suppress request logs."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Ignore clients that do not trust the certificate."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        registry.url = (
            f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
        )
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
