"""Scorers as real processes, for tests that kill them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from stream_scorer.local.probe import pick_free_port
from stream_scorer.local.scrape import MetricSample, parse_sample
from stream_scorer.runtime.processes import start_child
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from tests.support.waiting import wait_until

_ANSWER_SECONDS = 20.0  # on a busy machine the answering thread may wait


@dataclass
class ScorerUnderTest:
    """One ``stream-scorer run``."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def terminate(self, timeout: float = 90.0) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def sample(self) -> MetricSample:
        """The scorer's counters; without an answer an ``OSError``, which wait_until ignores."""
        return parse_sample(self.metrics(), time.monotonic())

    def metrics(self) -> str:
        return self._get("metrics").decode()

    def readiness(self) -> dict[str, Any]:
        try:
            body: dict[str, Any] = json.loads(self._get("readyz"))
        except OSError:
            return {"ready": False, "problem": None}
        return body

    def _get(self, path: str) -> bytes:
        """The response body, also of an error."""
        url = f"http://127.0.0.1:{self.port}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return bytes(refusal.read())
        except HTTPException as error:  # it ended while answering
            raise OSError(f"half an answer: {error!r}") from error

    def wait_ready(self, timeout: float = 120.0) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return bool(self.readiness()["ready"])

        try:
            wait_until(ready, timeout, what="the scorer to be ready")
        except AssertionError as error:
            raise AssertionError(
                f"{error}; {self.readiness()}\n{self.log.read_text()[-3000:]}"
            ) from None


SOON_MISSED = {"KAFKA_SESSION_TIMEOUT_MS": "3000", "KAFKA_TRANSACTION_TIMEOUT_MS": "4000"}
"""For tests that kill: the group goes on without the dead one after seconds. A scorer that was only
slow is missed too then, so only where that changes no result."""


@dataclass
class ScorerFleet:
    """Starts scorers of one group, and kills those still running at the end."""

    kafka: KafkaSettings
    topics: TopicSettings
    group_id: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "stream_scorer", "run")
    scorers: list[ScorerUnderTest] = field(default_factory=list)

    def start(self, **more: str) -> ScorerUnderTest:
        """Start another scorer; ``more`` are environment variables."""
        port = pick_free_port()
        number = len(self.scorers)
        environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.kafka_bootstrap_servers,
            "KAFKA_GROUP_ID": self.group_id,
            "KAFKA_SESSION_TIMEOUT_MS": "10000",
            "KAFKA_TRANSACTION_TIMEOUT_MS": "15000",
            "MODEL_STORE_URI": (self.folder / "store").as_uri(),
            "MODEL_CACHE_DIR": str(self.folder / f"cache-{number}"),
            "HISTORY_CACHE_DIR": str(self.folder / f"history-{number}"),
            "MODEL_POLL_SECONDS": "0.2",
            "METRICS_PORT": str(port),
            "METRICS_HOST": "127.0.0.1",
            "LOG_FORMAT": "json",
            **{name.upper(): value for name, value in self.topics.model_dump().items()},
            **self.environment,
            **more,
        }
        log = self.folder / f"scorer-{number}.log"
        with log.open("ab") as output:
            child = start_child([sys.executable, *self.program], output, environment)
        self.scorers.append(ScorerUnderTest(child, port, log))
        return self.scorers[-1]

    def outcomes(self) -> int:
        """Outcomes counted by the running scorers."""
        total = 0
        for scorer in self.scorers:
            if scorer.process.poll() is None:
                try:
                    total += scorer.sample().outcomes
                except OSError:
                    continue
        return total


@contextmanager
def fleet(
    kafka: KafkaSettings, topics: TopicSettings, group_id: str, folder: Path, **environment: str
) -> Iterator[ScorerFleet]:
    """A fleet whose scorers are all ended after the test."""
    made = ScorerFleet(kafka, topics, group_id, folder, environment)
    try:
        yield made
    finally:
        for scorer in made.scorers:
            if scorer.process.poll() is None:
                scorer.kill()
