"""Upgrades under load: other writer schemas, rolling restarts, more partitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from stream_scorer.audit.verify import verify_topics
from stream_scorer.model.scoring import score
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.chaos.cluster_admin import ClusterAdmin
from tests.chaos.scorer import EXTRA_SCHEMA
from tests.conftest import MakeTopics
from tests.support.factories import make_batch, make_bundle, make_transactions, publish
from tests.support.http_registry import running_registry
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import ScorerFleet, ScorerUnderTest, fleet
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until
from tests.support.wire import read_body, write_body

PARTITIONS = 2
Schema = dict[str, Any]


def newer_schema() -> Schema:
    """The contract with one more field, as a newer producer would write it."""
    schema: Schema = load_schema("transaction")
    field = {"name": "loyalty_tier", "type": ["null", "string"], "default": None}
    return {**schema, "fields": [*schema["fields"][:5], field, *schema["fields"][5:]]}


def older_schema() -> Schema:
    """The contract before some of its fields were added."""
    schema: Schema = load_schema("transaction")
    return {**schema, "fields": [f for f in schema["fields"] if not f["name"].startswith("V3")]}


def write(schema: Schema, schema_id: int | None, count: int = 200) -> list[bytes | None]:
    """Transactions written with this schema, framed with its id or else its fingerprint."""
    head = prefix(schema_fingerprint(schema), schema_id)
    return [
        head + write_body(schema, {**row, "loyalty_tier": "gold"})
        for row in make_transactions(count)
    ]


def judge(
    kafka: KafkaUnderTest, topics: TopicSettings, group_id: str, registry: str | None = None
) -> Mapping[str, Any]:
    settings = GroupSettings(
        **kafka.settings.model_dump(), **topics.model_dump(), kafka_group_id=group_id,
        schema_registry_url=registry,
    )  # fmt: skip
    return verify_topics(settings).as_json()


def wait_for_outcomes(kafka: KafkaUnderTest, topics: TopicSettings, scores: int, dead: int) -> None:
    def count(topic: str) -> int:
        return len(read_all(kafka.settings, topic))

    wait_until(
        lambda: (count(topics.output_topic), count(topics.dlq_topic)) == (scores, dead), 120,
        what=f"{scores} scores and {dead} dead letters", interval=0.3,
    )  # fmt: skip


def roll(scorers: ScorerFleet, meanwhile: Callable[[], None], **environment: str) -> None:
    """Replace the oldest scorer with a new one, as a rolling restart does."""
    fresh = scorers.start(**environment)
    meanwhile()
    fresh.wait_ready()
    old = scorers.scorers[-2]
    assert old.terminate() == 0
    meanwhile()


def test_newer_and_older_writers_are_scored_through_the_registry_by_old_and_new_scorers(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    publish(FileStore(tmp_path / "store"))
    with running_registry() as registry:
        ids = [registry.add(schema)[0] for schema in (newer_schema(), older_schema())]
        values = write(newer_schema(), ids[0]) + write(older_schema(), ids[1])

        def feed() -> None:
            produce(kafka.settings, names.input_topic, values, PARTITIONS)

        with fleet(
            kafka.settings, names, group_id, tmp_path, SCHEMA_REGISTRY_URL=registry.url
        ) as scorers:
            scorers.start().wait_ready()
            feed()
            roll(scorers, feed)
            wait_for_outcomes(kafka, names, 3 * len(values), 0)
        report = judge(kafka, names, group_id, registry.url)
    assert report["verified"], report["faults"]
    expected = score(make_batch(200), make_bundle()).scores
    for record in read_all(kafka.settings, names.output_topic):
        # Framed by the registry: the body begins after the magic byte and the schema's id.
        found = read_body((record.value or b"")[5:], load_schema("fraud_score"), "fraud_score")
        assert found["score"] == expected[found["transaction_id"] - 1]


def test_record_with_an_unknown_fingerprint_is_dead_lettered_and_redriven_after_the_upgrade(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    """Without a registry, scorers are upgraded first; the wrong order loses no record either."""
    names = topics(PARTITIONS)
    publish(FileStore(tmp_path / "store"))
    (tmp_path / "newer.avsc").write_text(json.dumps(newer_schema()))
    ours, newer = write(load_schema("transaction"), None), write(newer_schema(), None)

    def feed() -> None:
        produce(kafka.settings, names.input_topic, ours, PARTITIONS)

    with fleet(kafka.settings, names, group_id, tmp_path, REJECTION_MAX_SHARE="1") as scorers:
        scorers.program = ("-m", "tests.chaos.scorer")
        scorers.start().wait_ready()
        feed()
        produce(kafka.settings, names.input_topic, newer[:20], PARTITIONS)  # too early
        wait_for_outcomes(kafka, names, 200, 20)
        roll(scorers, feed, **{EXTRA_SCHEMA: str(tmp_path / "newer.avsc")})
        produce(kafka.settings, names.input_topic, newer, PARTITIONS)
        command(kafka, names, group_id, "dlq", "redrive", "--stage", "schema")
        wait_for_outcomes(kafka, names, 200 + 2 * 200 + 200 + 20, 20)
    report = judge(kafka, names, group_id)
    assert report["verified"], report["faults"]


def command(kafka: KafkaUnderTest, topics: TopicSettings, group_id: str, *words: str) -> str:
    """Run a command; its standard output."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_GROUP_ID": group_id,
        **{name.upper(): value for name, value in topics.model_dump().items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "stream_scorer", *words],
        env=os.environ | environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_scorer_waits_after_the_input_is_extended_until_outcome_topics_are_too(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path, protocol: str
) -> None:
    names = topics(PARTITIONS)
    publish(FileStore(tmp_path / "store"))
    (tmp_path / "client.properties").write_text("topic.metadata.refresh.interval.ms=500\n")
    admin = ClusterAdmin(kafka.settings)
    values = write(load_schema("transaction"), None)

    def is_short(scorer: ScorerUnderTest) -> bool:
        problem = scorer.readiness()["problem"] or ""
        return f"{names.output_topic} has 2 partitions, but {names.input_topic} has 3" in problem

    with fleet(
        kafka.settings, names, group_id, tmp_path, KAFKA_GROUP_PROTOCOL=protocol,
        KAFKA_CONFIG_FILE=str(tmp_path / "client.properties"),
    ) as scorers:  # fmt: skip
        first = scorers.start()
        first.wait_ready()
        produce(kafka.settings, names.input_topic, values, PARTITIONS)
        wait_for_outcomes(kafka, names, 200, 0)

        admin.extend(names.input_topic, PARTITIONS + 1)
        produce(kafka.settings, names.input_topic, values, PARTITIONS + 1)
        second = scorers.start()  # one that starts meanwhile waits for the same
        for scorer in (first, second):
            wait_until(partial(is_short, scorer), 90, what="the scorer to report what it waits for")
            assert not scorer.readiness()["ready"]

        output = command(kafka, names, group_id, "topics", "create")
        assert "extended" in output
        wait_for_outcomes(kafka, names, 400, 0)
        assert [first.terminate(), second.terminate()] == [0, 0]
    report = judge(kafka, names, group_id)
    assert report["verified"], report["faults"]
