"""The guarantees with real processes on real Kafka that are killed, join, leave and stop."""

from __future__ import annotations

import random
from pathlib import Path

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.audit.verify import verify_topics
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import SOON_MISSED, fleet
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until

PARTITIONS = 4


def feed(kafka: KafkaUnderTest, topics: TopicSettings, count: int, seed: int = 1) -> None:
    values = encode_transactions(build_batch(make_transactions(count, seed)))
    produce(kafka.settings, topics.input_topic, values, PARTITIONS)


def assert_each_has_one_outcome(
    kafka: KafkaUnderTest, topics: TopicSettings, group_id: str, count: int
) -> None:
    """Check with the audit, and by counting with a plain read_committed reader."""

    def committed() -> int:
        return sum(
            len(read_all(kafka.settings, t)) for t in (topics.output_topic, topics.dlq_topic)
        )

    wait_until(lambda: committed() >= count, 180, what=f"{count} outcomes", interval=0.5)
    assert committed() == count
    report = verify_topics(
        GroupSettings(**kafka.settings.model_dump(), **topics.model_dump(), kafka_group_id=group_id)
    )
    assert report.is_verified, report.as_json()
    assert report.as_json()["inputs"] == count


def test_kill_nine_in_the_middle_of_batches_loses_and_duplicates_nothing(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    publish(FileStore(tmp_path / "store"))
    rng = random.Random(7)
    rounds, each = 4, 1500
    with fleet(
        kafka.settings, names, group_id, tmp_path,
        BATCH_MAX_RECORDS="100", KAFKA_GROUP_PROTOCOL="classic", **SOON_MISSED,
    ) as scorers:  # fmt: skip
        survivor = scorers.start()
        survivor.wait_ready()
        for number in range(rounds):
            victim = scorers.start()
            feed(kafka, names, each, seed=number)
            victim.wait_ready()
            # In the middle of its work: it has scored some records, and more are waiting.
            wanted = rng.randrange(1, 300)
            wait_until(
                lambda victim=victim, wanted=wanted: (
                    victim.sample().outcomes >= wanted  # type: ignore[misc]
                    or survivor.sample().lag == 0
                ),
                what="the victim to be at work",
            )
            victim.kill()
        feed(kafka, names, 100, seed=99)
        assert_each_has_one_outcome(kafka, names, group_id, rounds * each + 100)
        assert survivor.terminate() == 0


def test_members_that_join_and_leave_lose_and_duplicate_nothing(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    publish(FileStore(tmp_path / "store"))
    with fleet(kafka.settings, names, group_id, tmp_path, BATCH_MAX_RECORDS="50") as scorers:
        first = scorers.start()
        feed(kafka, names, 3000, seed=1)
        first.wait_ready()
        second = scorers.start()
        feed(kafka, names, 2000, seed=2)
        wait_until(lambda: second.readiness().get("joined_group"), what="the second member")
        fed = 5000

        def both_at_work() -> bool:
            # Until the partitions are reassigned, the first member may score everything.
            nonlocal fed
            feed(kafka, names, 500, seed=3)
            fed += 500
            return second.sample().outcomes > 0

        wait_until(both_at_work, what="the second member's first score", interval=0.2)
        assert second.terminate() == 0
        feed(kafka, names, 1000, seed=4)
        assert_each_has_one_outcome(kafka, names, group_id, fed + 1000)


def test_sigterm_during_work_loses_nothing_and_leaves_the_group(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    publish(FileStore(tmp_path / "store"))
    with fleet(kafka.settings, names, group_id, tmp_path, BATCH_MAX_RECORDS="100") as scorers:
        feed(kafka, names, 5000)
        first = scorers.start()
        wait_until(
            lambda: first.readiness()["ready"] and first.sample().outcomes > 0, 120,
            what="the first scores",
        )  # fmt: skip
        assert first.terminate() == 0
        second = scorers.start()
        second.wait_ready()
        # The first member has left the group, so there is no session to time out.
        assert_each_has_one_outcome(kafka, names, group_id, 5000)
