"""A real MLflow server for tests, and what it knows, read by its REST API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.local.probe import pick_free_port
from tests.support.waiting import wait_until

TOOLS = Path(__file__).parents[3] / ".venv-tools"

_START_SECONDS = 300.0  # it creates its tables first; a busy machine is ten times slower
_ANSWER_SECONDS = 60.0


def require_tool(name: str) -> str:
    """The path of a program of the tools' environment; skips the test if there is none."""
    path = TOOLS / "bin" / name
    if not path.exists():
        pytest.skip(f"{path.relative_to(TOOLS.parent)} is missing: make .venv-tools/.ready")
    return str(path)


@dataclass(frozen=True)
class MlflowServer:
    """A running server."""

    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def runs(self) -> list[dict[str, Any]]:
        """The runs of this process's experiment, the last started first.

        Each with its parameters, metrics and tags as mappings.
        """
        wanted = f"name = '{os.environ['MLFLOW_EXPERIMENT_NAME']}'"
        found = self._post("experiments/search", {"max_results": 1, "filter": wanted})
        ids = [experiment["experiment_id"] for experiment in found.get("experiments", [])]
        if not ids:
            return []
        query = {"experiment_ids": ids, "order_by": ["attributes.start_time DESC"]}
        return [_flat_run(run) for run in self._post("runs/search", query).get("runs", [])]

    def curve(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a metric's history."""
        found = self._get("metrics/get-history", run_id=run_id, metric_key=metric)
        return [(int(p.get("step", 0)), p["value"]) for p in found.get("metrics", [])]

    def files(self, run_id: str, folder: str = "") -> dict[str, int]:
        """The names and sizes of a run's artifacts."""
        found = self._get("artifacts/list", run_id=run_id, path=folder)
        files = [f for f in found.get("files", []) if not f.get("is_dir")]
        return {f["path"]: int(f["file_size"]) for f in files}

    def registered(self) -> dict[str, dict[str, Any]]:
        """The registered versions by the value of their tag ``model_version``."""
        found = self._get("model-versions/search", filter="name = 'fraud-scorer'")
        versions = found.get("model_versions", [])
        return {_pairs(v["tags"])["model_version"]: v for v in versions}

    def champion(self) -> str | None:
        """The tag ``model_version`` of the registered version with the alias ``champion``."""
        try:
            found = self._get("registered-models/alias", name="fraud-scorer", alias="champion")
        except urllib.error.HTTPError as refusal:
            with refusal:
                return None
        return str(_pairs(found["model_version"]["tags"])["model_version"])

    def _get(self, what: str, **query: str) -> dict[str, Any]:
        return self._request(f"{what}?{urllib.parse.urlencode(query)}", None)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request(path, json.dumps(body).encode())

    def _request(self, path: str, body: bytes | None) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/api/2.0/mlflow/{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            found: dict[str, Any] = json.loads(answer.read())
        return found


def _flat_run(run: dict[str, Any]) -> dict[str, Any]:
    data = run.get("data", {})
    flat = {name: _pairs(data.get(name, [])) for name in ("params", "metrics", "tags")}
    return {"info": run["info"], "inputs": run.get("inputs", {}), **flat}


def _pairs(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: item.get("value", 0.0) for item in items}


@contextmanager
def running_mlflow(folder: Path) -> Iterator[MlflowServer]:
    """Start a server whose data is in ``folder``; it is ended afterwards."""
    program = require_tool("mlflow")
    server = MlflowServer(pick_free_port())
    command = [
        program, "server", "--host", "127.0.0.1", "--port", str(server.port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        url = f"http://127.0.0.1:{server.port}/health"
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)

    try:
        wait_until(is_ready, _START_SECONDS, what="MLflow's server to be ready", interval=0.1)
        yield server
    finally:
        with suppress(ProcessLookupError):  # its workers are in the group of its own session
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
