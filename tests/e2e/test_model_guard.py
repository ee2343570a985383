"""A version whose scores contradict its metadata fails its guard and is rolled back everywhere."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.audit.verify import verify_topics
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.factories import make_batch
from tests.support.guard_kit import honest_facts, lying_facts, publish_promising
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import fleet
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until

PARTITIONS = 4
ROWS = 1000
BATCH = 50
SHOWS_V1, SHOWS_V2, SHOWS_V3 = (f'model_version{{version="v{n}"}} 1.0' for n in (1, 2, 3))
ROLLED_BACK = "fraud_scorer_model_fallen_back 1.0"


def test_every_scorer_rolls_back_a_bad_version_soon_and_loses_no_record(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    store = FileStore(tmp_path / "store")
    publish_promising(store, honest_facts())
    values = encode_transactions(make_batch(ROWS, 5))

    def versions() -> list[list[str]]:
        """The model versions of the scores in each partition, in offset order."""
        found: list[list[str]] = [[] for _ in range(PARTITIONS)]
        for score in read_all(kafka.settings, names.output_topic):
            record = decode_record("fraud_score", score.value)
            found[score.partition].append(record["model_version"])
        return found

    def count() -> int:
        return sum(map(len, versions()))

    with fleet(
        kafka.settings, names, group_id, tmp_path,
        BATCH_MAX_RECORDS=str(BATCH), MODEL_GUARD_MIN_ROWS="200",
    ) as scorers:  # fmt: skip
        both = [scorers.start(), scorers.start()]
        for scorer in both:
            scorer.wait_ready()
        wait_until(
            lambda: all("assigned_partitions 2.0" in s.metrics() for s in both),
            what="two partitions each",
        )
        produce(kafka.settings, names.input_topic, values, PARTITIONS)
        wait_until(lambda: count() == ROWS, what="scores by v1")

        publish_promising(store, lying_facts())
        wait_until(lambda: all(SHOWS_V2 in s.metrics() for s in both), what="v2")
        produce(kafka.settings, names.input_topic, values, PARTITIONS)
        wait_until(lambda: count() == 2 * ROWS, what="scores of the second round")
        wait_until(lambda: "v2" in store.rejected(), what="the marker")
        wait_until(lambda: all(SHOWS_V1 in s.metrics() for s in both), what="v1 again")
        wait_until(lambda: all(ROLLED_BACK in s.metrics() for s in both), what="the gauge")
        produce(kafka.settings, names.input_topic, values, PARTITIONS)
        wait_until(lambda: count() == 3 * ROWS, what="scores by v1 again")

        found = versions()
        of_v2 = sum(by_partition.count("v2") for by_partition in found)
        # Each of the two scorers may commit batches until its guard trips.
        assert 0 < of_v2 < 2 * 200
        for by_partition in found:
            runs = [v for i, v in enumerate(by_partition) if i == 0 or v != by_partition[i - 1]]
            assert runs in (["v1"], ["v1", "v2", "v1"])
        marker = store.rejected()["v2"]
        assert marker["guard"] == "distribution"
        assert marker["figures"]["psi"] > 0.5
        logs = [scorer.log.read_text() for scorer in both]
        trips = sum(
            'model_guard_tripped_total{reason="distribution"} 1.0' in s.metrics() for s in both
        )
        assert trips == sum(log.count("model guard tripped") for log in logs) >= 1
        assert all(
            log.count("v2 is rejected") + log.count("model guard tripped") >= 1 for log in logs
        )
        for line in "".join(logs).splitlines():
            json.loads(line)
        settings = GroupSettings(
            **kafka.settings.model_dump(), **names.model_dump(), kafka_group_id=group_id
        )
        report = verify_topics(settings)
        assert report.is_verified, report.as_json()
        assert report.as_json()["inputs"] == 3 * ROWS

        # A version with correct metadata passes its probation.
        assert publish_promising(store, honest_facts()) == "v3"
        wait_until(lambda: all(SHOWS_V3 in s.metrics() for s in both), what="v3")
        wait_until(lambda: not any(ROLLED_BACK in s.metrics() for s in both), what="the gauge")
        produce(kafka.settings, names.input_topic, values, PARTITIONS)
        wait_until(lambda: count() == 4 * ROWS, what="scores by v3")
        assert list(store.rejected()) == ["v2"]
        assert all(by_partition[-1] == "v3" for by_partition in versions())
        assert [scorer.terminate() for scorer in both] == [0, 0]
