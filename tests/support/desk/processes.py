"""Dashboards as processes, with users, for tests that kill them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dashboard.web.tokens import make_token
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings


@dataclass(frozen=True, slots=True)
class Users:
    """A tokens file and the token of each user in it."""

    path: Path
    tokens: Mapping[str, str]


def make_users(path: Path, names: Mapping[str, str]) -> Users:
    """Users by name and role."""
    made = {name: make_token(name, role) for name, role in names.items()}
    path.write_text("\n".join(line for _, line in made.values()))
    return Users(path, {name: token for name, (token, _) in made.items()})


@dataclass
class DashboardProcess:
    """One ``fraud-dashboard``."""

    process: subprocess.Popen[bytes]
    log: Path
    users: Users
    address: str = ""

    def find_address(self) -> str:
        """Its address. Empty while it starts."""
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"dashboard on (http://\S+)", self.log.read_text())
        self.address = found[1] if found else ""
        return self.address

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request to the API as a user."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {self.users.tokens[who]}"
        return httpx.request(
            method, f"{self.address}/api/v1{path}", json=body, headers=sent, timeout=60
        )

    def checks(self) -> dict[str, Any]:
        """The checks of /health. Empty while nothing answers."""
        try:
            found: dict[str, Any] = httpx.get(f"{self.address}/health", timeout=30).json()
        except httpx.TransportError:
            return {}
        return dict(found["checks"])

    def is_following(self, flagged: int) -> bool:
        """Whether list and desk have been read to their ends."""
        if not self.find_address():
            return False
        checks = self.checks()
        if not checks or not checks["feed"]["ok"] or checks["desk"]["state"] != "live":
            return False
        name = next(iter(self.users.tokens))
        items = self.call(name, "GET", "/flags").json()["items"]
        return len(items) == flagged

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


@contextmanager
def dashboard_process(
    kafka: KafkaSettings,
    topics: TopicSettings,
    folder: Path,
    users: Users,
) -> Iterator[DashboardProcess]:
    """Start a dashboard whose state is in ``folder``. It may still be starting."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.kafka_bootstrap_servers,
        **{name.upper(): value for name, value in topics.model_dump().items()},
        "MODEL_STORE_URI": (folder / "store").as_uri(),
        "MODEL_CACHE_DIR": str(folder / "models"),
        "DASHBOARD_STATE_DIR": str(folder / "state"),
        "DASHBOARD_PORT": "0",
        "DASHBOARD_AUTH": "token",
        "DASHBOARD_TOKENS_FILE": str(users.path),
    }
    log = folder / "dashboard.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.desk.patient_dashboard"],
            stderr=output,
            env=environment,
        )
    try:
        yield DashboardProcess(process, log, users)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
