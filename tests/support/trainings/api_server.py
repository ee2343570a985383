"""The part of a Kubernetes API server that trainings use, in memory, over real HTTPS.

``tests/k8s/trainings_on_cluster.py`` runs the same runner on a real API server.
"""

from __future__ import annotations

import copy
import json
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from tests.support.kafka.pki import Authority

Object = dict[str, Any]
JOBS = "/apis/batch/v1/namespaces/training/jobs"
CRONJOBS = "/apis/batch/v1/namespaces/training/cronjobs"
PODS = "/api/v1/namespaces/training/pods"
CONFIG_MAP = "/api/v1/namespaces/training/configmaps/trainings"


class ApiServer:
    """Objects by path, the token that is accepted, and what fails."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {
            f"{CRONJOBS}/pipeline": make_cronjob(),
            CONFIG_MAP: {"metadata": {"name": "trainings", "resourceVersion": "1"}},
        }
        self.races: list[Callable[[], None]] = []
        self.logs: dict[str, str] = {}
        self.token = "first"
        self.refusal: tuple[int, str] | None = None
        self.raw: bytes | None = None
        self.address = ""
        self._versions = ["0", "1"]
        self._clock = datetime(2026, 11, 30, 8, tzinfo=UTC)

    def answer(self, method: str, target: str, token: str, body: bytes) -> tuple[int, bytes]:
        if token != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if self.refusal is not None:
            return _status(*self.refusal)
        if self.raw is not None:
            return 200, self.raw
        url = urlsplit(target)
        if method == "POST":
            return self._create(url.path, json.loads(body))
        if method in ("PUT", "DELETE"):
            return self._change(method, url.path, json.loads(body))
        if url.path.endswith("/log"):
            name = url.path.removesuffix("/log").rpartition("/")[2]
            return (200, self.logs[name].encode()) if name in self.logs else _status(400, "waiting")
        if url.path in (JOBS, PODS):
            return 200, json.dumps({"items": self._select(url.path, url.query)}).encode()
        if url.path in self.objects:
            return 200, json.dumps(self.objects[url.path]).encode()
        return _status(404, f"{url.path.rpartition('/')[2]} not found")

    def job(self, name: str) -> Object:
        return self.objects[f"{JOBS}/{name}"]

    def end(self, name: str, kind: str = "Complete", **more: str) -> None:
        """Set the condition that ends a Job."""
        when = self._now()
        condition = {"type": kind, "status": "True", "lastTransitionTime": when, **more}
        self.job(name)["status"] = {"conditions": [condition]}
        self._touch(self.job(name))

    def end_pods(self, name: str) -> None:
        """What the garbage collector does after a deletion in the foreground."""
        if self.job(name)["metadata"].get("deletionTimestamp"):
            del self.objects[f"{JOBS}/{name}"]

    def forget_job(self, name: str) -> None:
        """What a history limit or a TTL does."""
        del self.objects[f"{JOBS}/{name}"]

    def add_pod(self, job: str, log: str | None) -> None:
        name = f"{job}-{len(self.objects)}"
        labels = {"batch.kubernetes.io/job-name": job}
        metadata = {"name": name, "labels": labels, "creationTimestamp": self._now()}
        self.objects[f"{PODS}/{name}"] = {"metadata": metadata}
        if log is not None:
            self.logs[name] = log

    def _create(self, path: str, given: Object) -> tuple[int, bytes]:
        place = f"{path}/{given['metadata']['name']}"
        if place in self.objects:
            return _status(409, f'jobs.batch "{given["metadata"]["name"]}" already exists')
        made = copy.deepcopy(given)
        made["metadata"] |= {"uid": uuid.uuid4().hex, "creationTimestamp": self._now()}
        self._touch(made)
        self.objects[place] = made
        return 201, json.dumps(made).encode()

    def _change(self, method: str, path: str, given: Object) -> tuple[int, bytes]:
        """Replace or delete an object, if nobody has changed it since it was read."""
        if self.races:
            self.races.pop(0)()
        if path not in self.objects:
            return _status(404, f"{path.rpartition('/')[2]} not found")
        metadata = self.objects[path]["metadata"]
        wanted = given["metadata"] if method == "PUT" else given["preconditions"]
        if any(metadata.get(name) != wanted.get(name) for name in ("uid", "resourceVersion")):
            return _status(409, "the object has been modified")
        if method == "PUT":
            self.objects[path] = given
        else:
            assert given["propagationPolicy"] == "Foreground"
            metadata["deletionTimestamp"] = self._now()
        self._touch(self.objects[path])
        return 200, json.dumps(self.objects[path]).encode()

    def _touch(self, item: Object) -> None:
        item["metadata"]["resourceVersion"] = str(len(self._versions))
        self._versions.append(item["metadata"]["resourceVersion"])

    def _select(self, path: str, query: str) -> list[Object]:
        found = [item for at, item in self.objects.items() if at.startswith(f"{path}/")]
        selector = parse_qs(query).get("labelSelector")
        if selector is None:
            return found
        name, _, value = selector[0].partition("=")
        return [item for item in found if item["metadata"]["labels"].get(name) == value]

    def _now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.strftime("%Y-%m-%dT%H:%M:%SZ")


def make_cronjob() -> Object:
    container = {"name": "trainer", "image": "trainer:1", "args": ["fraud-trainer", "train"]}
    return {
        "metadata": {"name": "pipeline", "uid": "cron-1"},
        "spec": {
            "jobTemplate": {
                "metadata": {"labels": {"app.kubernetes.io/name": "pipeline"}},
                "spec": {
                    "backoffLimit": 2,
                    "template": {
                        "metadata": {"annotations": {"safe-to-evict": "false"}},
                        "spec": {"containers": [container], "restartPolicy": "Never"},
                    },
                },
            }
        },
    }


S = TypeVar("S", bound=ApiServer)


@contextmanager
def serve_api(folder: Path, api: S) -> Iterator[tuple[S, Path]]:
    """A server on a port of this machine. Yields it and the folder with the pod's credentials."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            status, content = api.answer(
                self.command,
                self.path,
                self.headers.get("Authorization", ""),
                self.rfile.read(size),
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - as the base class names them

        def log_message(self, *_: Any) -> None:
            pass

    credentials = folder / "credentials"
    credentials.mkdir()
    authority = Authority(folder / "pki")
    authority.path.rename(credentials / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("api"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # so that closing it waits for them
    server.socket = context.wrap_socket(server.socket, server_side=True)
    (credentials / "token").write_text("first\n")
    api.address = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api, credentials
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _status(code: int, message: str) -> tuple[int, bytes]:
    return code, json.dumps({"kind": "Status", "message": message, "code": code}).encode()
