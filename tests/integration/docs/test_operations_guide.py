"""The guide's recipe for lost offsets, as it stands in the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.http_registry import running_registry
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce
from tests.support.scorer_kit import outcomes, running, scorer_settings
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
PARTITIONS = 3


def _recipe() -> str:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    found = re.search(r"```python\n(# restore_offsets\.py\n.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def _committed(kafka: KafkaUnderTest, names: TopicSettings, group_id: str) -> list[int]:
    consumer = open_consumer(kafka.settings, group_id)
    asked = [TopicPartition(names.input_topic, partition) for partition in range(PARTITIONS)]
    found = [place.offset for place in consumer.committed(asked, timeout=10)]
    consumer.close()
    return found


@pytest.mark.parametrize("has_registry", [False, True])
def test_lost_offsets_are_set_to_where_the_outcomes_end(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path, has_registry: bool
) -> None:
    with running_registry() if has_registry else nullcontext() as registry:
        url = registry.url if registry else None
        _lose_and_restore(kafka, topics(PARTITIONS), group_id, tmp_path, url)


def _lose_and_restore(
    kafka: KafkaUnderTest, names: TopicSettings, group_id: str, tmp_path: Path, url: str | None
) -> None:
    publish(FileStore(tmp_path / "store"))
    values: list[bytes | None] = [*encode_transactions(build_batch(make_transactions(60)))]
    values[-1] = b"not a transaction"  # the last outcome of its partition is a dead letter
    produce(kafka.settings, names.input_topic, values, partitions=PARTITIONS)
    settings = scorer_settings(kafka, names, group_id, tmp_path)
    with running(settings.model_copy(update={"schema_registry_url": url})):
        wait_until(lambda: sum(map(len, outcomes(kafka, names))) >= 60, what="60 outcomes")
    before = _committed(kafka, names, group_id)
    assert sum(before) == 60

    admin = open_admin(kafka.settings)
    admin.delete_consumer_groups([group_id])[group_id].result(10)
    assert max(_committed(kafka, names, group_id)) < 0
    done = subprocess.run(
        [sys.executable, "-c", _recipe()],
        env=os.environ
        | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_GROUP_ID": group_id,
            "INPUT_TOPIC": names.input_topic,
            "OUTPUT_TOPIC": names.output_topic,
            "DLQ_TOPIC": names.dlq_topic,
            "SCHEMA_REGISTRY_URL": url or "",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert _committed(kafka, names, group_id) == before
