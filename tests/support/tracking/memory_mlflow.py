"""MLflow's registry of models in memory, behind its REST API: for tests without a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class MemoryMlflow:
    """Registered versions and aliases; what a real server does is in tests/integration/tracking."""

    def __init__(self, port: int, page_size: int = 100) -> None:
        self.port = port
        self.page_size = page_size
        self.versions: list[dict[str, str]] = []
        self.aliases: dict[str, str] = {}
        self.authorizations: list[str | None] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def register(self, model_version: str, model_sha256: str) -> str:
        """Register a version with its two tags; returns its number."""
        self.versions.append({"model_version": model_version, "model_sha256": model_sha256})
        return str(len(self.versions))

    def answer(self, method: str, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The status and the object of an answer."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if (method, parts.path) == ("GET", "/api/2.0/mlflow/model-versions/search"):
            return 200, self._search(query)
        if parts.path != "/api/2.0/mlflow/registered-models/alias":
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}
        if method == "POST":
            self.aliases[body["alias"]] = body["version"]
        elif self.aliases.pop(body["alias"], None) is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such alias"}
        return 200, {}

    def _search(self, query: dict[str, str]) -> dict[str, Any]:
        wanted = query["filter"].rpartition("= ")[2].strip("'")
        found = [
            {"version": str(number), "tags": [{"key": k, "value": v} for k, v in tags.items()]}
            for number, tags in enumerate(self.versions, 1)
            if tags["model_version"] == wanted
        ]
        start = int(query.get("page_token", "0"))
        page: dict[str, Any] = {"model_versions": found[start : start + self.page_size]}
        if start + self.page_size < len(found):
            page["next_page_token"] = str(start + self.page_size)
        return page


@contextmanager
def memory_mlflow() -> Iterator[MemoryMlflow]:
    """Run a server on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            mlflow.authorizations.append(self.headers.get("Authorization"))
            status, found = mlflow.answer(self.command, self.path, body)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server names them

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mlflow = MemoryMlflow(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mlflow
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
