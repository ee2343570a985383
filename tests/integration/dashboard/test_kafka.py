"""The dashboard as a process on real Apache Kafka."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings, load_settings
from tests.conftest import MakeTopics, StartBroker
from tests.support.dashboard_kit import encode_score, make_score
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, wait_readable
from tests.support.waiting import wait_until


class Dashboard:
    """One ``fraud-dashboard`` process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.address = wait_until(self._find_address, 120, what="the dashboard to listen")

    def _find_address(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"dashboard on (http://\S+)", self.log.read_text())
        return found[1] if found else ""

    def get(self, path: str) -> httpx.Response | None:
        try:
            return httpx.get(self.address + path, timeout=30)
        except httpx.TransportError:  # it listens shortly before it accepts requests
            return None

    def feed(self) -> dict[str, Any]:
        answer = self.get("/health")
        return {} if answer is None else answer.json().get("checks", {}).get("feed", {})

    def counts(self) -> dict[str, int]:
        answer = self.get("/api/v1/meta")
        return {} if answer is None else answer.json().get("counts", {})


@contextmanager
def running(kafka: KafkaSettings, topics: TopicSettings, folder: Path) -> Iterator[Dashboard]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.kafka_bootstrap_servers,
        "OUTPUT_TOPIC": topics.output_topic,
        "MODEL_STORE_URI": (folder / "store").as_uri(),
        "MODEL_CACHE_DIR": str(folder / "models"),
        "DASHBOARD_STATE_DIR": str(folder / "state"),
        "DASHBOARD_PORT": "0",
    }
    log = folder / "dashboard.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard"], stderr=output, env=environment
        )
    try:
        yield Dashboard(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)


def publish(settings: KafkaSettings, topic: str, scores: list[float], commit: bool) -> None:
    """Scores in one Kafka transaction, committed or aborted."""
    producer = open_producer(settings, **{"transactional.id": f"{topic}-{commit}"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for i, score in enumerate(scores):
        producer.produce(topic, encode_score(make_score(score)), partition=i % 3)
    producer.flush(60)
    if commit:
        producer.commit_transaction(60)
    else:
        producer.abort_transaction(60)
    wait_readable(settings, topic)


def test_only_committed_scores_are_listed_and_a_restart_continues_from_stored_offsets(
    kafka: KafkaUnderTest, topics: MakeTopics, tmp_path: Path
) -> None:
    names = topics(3)
    produce(kafka.settings, names.output_topic, [b"not a score", None], 3)
    publish(kafka.settings, names.output_topic, [0.9] * 5, commit=False)
    publish(kafka.settings, names.output_topic, [0.9, 0.1, 0.5, 0.2], commit=True)
    expected = {"scored": 4, "flagged": 2, "unreadable": 2}
    with running(kafka.settings, names, tmp_path) as dashboard:
        wait_until(lambda: dashboard.feed().get("state") == "live", what="the feed")
        assert dashboard.counts() == expected
        # Control records must not count as lag.
        wait_until(lambda: dashboard.feed().get("lag") == 0, what="no lag")
        publish(kafka.settings, names.output_topic, [0.7], commit=True)
        wait_until(lambda: dashboard.counts().get("flagged") == 3)
        with httpx.stream("GET", dashboard.address + "/api/v1/stream", timeout=60) as stream:
            next(stream.iter_lines())
            dashboard.process.send_signal(signal.SIGTERM)
            assert dashboard.process.wait(60) == 0
        assert "Traceback" not in dashboard.log.read_text()
    publish(kafka.settings, names.output_topic, [0.8], commit=True)
    with running(kafka.settings, names, tmp_path) as dashboard:
        wait_until(lambda: dashboard.feed().get("state") == "live", what="the feed")
        assert dashboard.counts() == {"scored": 6, "flagged": 4, "unreadable": 2}
        answer = wait_until(lambda: dashboard.get("/api/v1/flags?limit=10"), what="the list")
        assert len(answer.json()["items"]) == 4


def test_dashboard_starts_without_kafka_shows_the_reason_and_recovers(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    broker = own_broker(tmp_path / "kafka")
    settings = broker.settings
    port = int(settings.kafka_bootstrap_servers.rpartition(":")[2])
    broker.stop()
    missing = load_settings(TopicSettings, {"output_topic": "fraud-scores-late"})
    with running(settings, missing, tmp_path) as dashboard:
        wait_until(lambda: dashboard.feed().get("state") == "waiting", what="the feed to wait")
        page = wait_until(lambda: dashboard.get("/"), what="the page")
        assert "Disconnected from Kafka" in page.text
        broker = own_broker(tmp_path / "kafka", port=port)
        wait_until(
            lambda: "does not exist yet" in dashboard.feed().get("detail", ""), what="the reason"
        )
        admin = open_admin(settings)
        create_topics(admin, {"fraud-scores-late": {}}, 1, 1)
        produce(settings, "fraud-scores-late", [encode_score(make_score(0.9))], 1)
        wait_until(lambda: dashboard.counts().get("flagged") == 1)
        broker.stop()
        wait_until(lambda: dashboard.feed().get("state") == "waiting", what="the outage to show")
        kept = wait_until(lambda: dashboard.get("/api/v1/flags"), what="the list")
        assert len(kept.json()["items"]) == 1
        own_broker(tmp_path / "kafka", port=port)
        wait_until(lambda: dashboard.feed().get("state") == "live", what="the feed to recover")
        produce(settings, "fraud-scores-late", [encode_score(make_score(0.9))], 1)
        wait_until(lambda: dashboard.counts().get("flagged") == 2)
        dashboard.process.send_signal(signal.SIGTERM)
        assert dashboard.process.wait(60) == 0
