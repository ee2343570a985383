"""The README's Python examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from tests.conftest import MakeTopics
from tests.support.factories import publish
from tests.support.http_registry import running_registry
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.scorer_kit import running, scorer_settings

README = Path(__file__).parents[3] / "README.md"


def example(name: str) -> str:
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", README.read_text(), re.DOTALL)
    assert found, f"the README has no {name}"
    return found[1]


@pytest.mark.parametrize("has_registry", [False, True])
def test_readme_examples_send_a_transaction_and_receive_its_score(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path, has_registry: bool
) -> None:
    with running_registry() if has_registry else nullcontext() as registry:
        url = registry.url if registry else None
        _send_and_receive(kafka, topics(3), group_id, tmp_path, url)


def _send_and_receive(
    kafka: KafkaUnderTest, names: TopicSettings, group_id: str, tmp_path: Path, url: str | None
) -> None:
    publish(FileStore(tmp_path / "store"))
    environment = os.environ | {
        "SCHEMA_REGISTRY_URL": url or "",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "INPUT_TOPIC": names.input_topic,
        "OUTPUT_TOPIC": names.output_topic,
        "PYTHONPATH": str(README.parent),
    }

    def run(name: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", example(name)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = scorer_settings(kafka, names, group_id, tmp_path)
    with running(settings.model_copy(update={"schema_registry_url": url})):
        run("send.py")
        words = run("receive.py").split(maxsplit=3)
    assert words[0] == "3663549"
    assert 0 < float(words[1]) < 1
    assert words[2] in {"APPROVE", "REVIEW", "BLOCK"}
