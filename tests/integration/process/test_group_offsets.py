"""A scorer whose group's offsets do not fit the input topic: it stops or says so, never guesses."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.kafka.admin import describe_topics
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.mark import TOPIC_ID, parse_mark
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import ScorerSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.ports import Polled
from tests.chaos.cluster_admin import ClusterAdmin
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all
from tests.support.scorer_kit import (
    reason_to_end,
    running,
    running_until_fatal,
    scorer_settings,
)
from tests.support.waiting import wait_until


@dataclass
class Scene:
    """Topics with one partition, a group and a model."""

    kafka: KafkaUnderTest
    topics: TopicSettings
    settings: ScorerSettings

    @property
    def topic(self) -> str:
        return self.topics.input_topic

    def feed(self, count: int, topic: str | None = None) -> None:
        values: list[bytes | None] = [*encode_transactions(build_batch(make_transactions(count)))]
        produce(self.kafka.settings, topic or self.topic, values, 1)

    def sources(self) -> list[int]:
        """The input offsets of all scores, in the order of the scores."""
        scores = read_all(self.kafka.settings, self.topics.output_topic)
        return [decode_record("fraud_score", s.value)["source"]["offset"] for s in scores]

    def score(self, count: int, *, is_from_start: bool = False) -> None:
        """Run a scorer until there are this many scores."""
        with running(self.settings, is_from_start=is_from_start):
            wait_until(lambda: len(self.sources()) >= count, what=f"{count} scores")
        assert len(self.sources()) == count

    def committed(self) -> TopicPartition:
        consumer = open_consumer(self.kafka.settings, self.settings.kafka_group_id)
        (found,) = consumer.committed([TopicPartition(self.topic, 0)], 30)
        consumer.close()
        return found

    def commit(self, offset: int, mark: str = "") -> None:
        """Commit an offset by hand, as kafka-consumer-groups.sh would."""
        consumer = open_consumer(self.kafka.settings, self.settings.kafka_group_id)
        place = TopicPartition(self.topic, 0, offset, mark)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()

    def delete_records(self, before: int) -> None:
        admin = open_admin(self.kafka.settings)
        for future in admin.delete_records([TopicPartition(self.topic, 0, before)]).values():
            future.result(30)

    def recreate(self, *topics: str) -> None:
        admin, wanted = ClusterAdmin(self.kafka.settings), wanted_topics(self.topics)
        admin.delete(*topics)
        admin.create({name: wanted[name] for name in topics}, 1)

    def topic_id(self) -> str | None:
        admin = open_admin(self.kafka.settings)
        return describe_topics(admin, [self.topic], 30.0)[self.topic].topic_id


@pytest.fixture
def scene(kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path) -> Scene:
    names = topics(1)
    publish(FileStore(tmp_path / "store"))
    return Scene(kafka, names, scorer_settings(kafka, names, group_id, tmp_path))


def test_committed_offset_carries_the_topics_id(scene: Scene) -> None:
    scene.feed(5)
    scene.score(5)
    assert parse_mark(scene.committed().metadata)[TOPIC_ID] == scene.topic_id()


def test_recreated_input_ends_a_running_scorer_and_from_start_scores_all_new_inputs(
    scene: Scene,
) -> None:
    scene.feed(20)
    with running_until_fatal(scene.settings) as reasons:
        wait_until(lambda: len(scene.sources()) == 20, what="20 scores")
        old = scene.topic_id()
        scene.recreate(scene.topic)
        scene.feed(15)  # all below the old position: a client would never read them
        wait_until(lambda: reasons, what="the scorer to end")
    assert f"topic {scene.topic} was deleted and recreated" in str(reasons[0])
    assert f"id {old}" in str(reasons[0])
    assert f"id {scene.topic_id()}" in str(reasons[0])
    assert "--from-start" in str(reasons[0])
    assert "--from-start" in reason_to_end(scene.settings)  # a restart alone decides nothing
    assert len(scene.sources()) == 20
    scene.score(35, is_from_start=True)
    assert scene.sources()[20:] == list(range(15))


def test_offset_of_a_deleted_topic_is_not_used_after_a_restart(scene: Scene) -> None:
    scene.feed(10)
    scene.commit(4, "t=another;era=1")
    reason = reason_to_end(scene.settings)
    assert "was deleted and recreated" in reason
    assert f"topic with id another, and the topic now has id {scene.topic_id()}" in reason
    assert scene.sources() == []
    scene.score(10, is_from_start=True)


def test_offset_without_a_mark_is_used(scene: Scene) -> None:
    """As an earlier release, or kafka-consumer-groups.sh, has committed it."""
    scene.feed(10)
    scene.commit(4)
    scene.score(6)
    assert scene.sources() == list(range(4, 10))


def test_committed_offset_beyond_the_end_stops_the_scorer_until_an_operator_decides(
    scene: Scene,
) -> None:
    scene.feed(10)
    scene.commit(5000)
    reason = reason_to_end(scene.settings)
    assert f"committed offset 5000 of {scene.topic} partition 0" in reason
    assert "its log ends at 10" in reason
    assert scene.sources() == []
    scene.score(10, is_from_start=True)


def test_from_start_keeps_offsets_that_are_usable(scene: Scene) -> None:
    scene.feed(10)
    scene.score(10)
    scene.feed(5)
    scene.score(15, is_from_start=True)
    assert scene.sources() == list(range(15))


def test_lost_group_offsets_stop_the_scorer_until_from_start_says_that_it_is_meant(
    scene: Scene, tmp_path: Path
) -> None:
    scene.feed(10)
    scene.score(10)
    other = scorer_settings(
        scene.kafka, scene.topics, f"{scene.settings.kafka_group_id}-2", tmp_path
    )
    lost = Scene(scene.kafka, scene.topics, other)
    reason = reason_to_end(lost.settings)
    assert (
        f"group {other.kafka_group_id} has no committed offset for {scene.topic} partition 0"
        in (reason)
    )
    assert "--from-start" in reason
    assert len(lost.sources()) == 10
    lost.score(20, is_from_start=True)


def test_dead_letters_alone_show_that_the_group_has_read_the_input_before(
    scene: Scene, tmp_path: Path
) -> None:
    produce(scene.kafka.settings, scene.topic, [b"bad"], 1)
    with running(scene.settings):
        wait_until(
            lambda: read_all(scene.kafka.settings, scene.topics.dlq_topic), what="a dead letter"
        )
    other = scorer_settings(
        scene.kafka, scene.topics, f"{scene.settings.kafka_group_id}-2", tmp_path
    )
    assert "has no committed offset" in reason_to_end(other)


def test_outcomes_of_another_input_topic_do_not_stop_a_first_start(
    scene: Scene, topics: MakeTopics, tmp_path: Path
) -> None:
    scene.feed(10)
    scene.score(10)
    names = scene.topics.model_copy(update={"input_topic": topics(1).input_topic})
    settings = scorer_settings(scene.kafka, names, f"{scene.settings.kafka_group_id}-2", tmp_path)
    second = Scene(scene.kafka, names, settings)
    second.feed(3)
    second.score(13)


def test_unread_inputs_deleted_before_the_start_are_reported_and_the_rest_is_scored(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.feed(10)
    scene.commit(2)
    scene.delete_records(6)
    with running(scene.settings) as scorer:
        wait_until(lambda: len(scene.sources()) == 4, what="the remaining scores")
        wait_until(
            lambda: b'inputs_lost_total{partition="0"} 4.0' in scorer._metrics.render(),
            what="the metric",
        )
    assert scene.sources() == [6, 7, 8, 9]
    (said,) = [r for r in caplog.records if "inputs were deleted" in r.getMessage()]
    assert said.levelno == logging.ERROR
    assert f"{scene.topic} partition 0, offsets 2 to 5, up to 4 records" in said.getMessage()


def test_unread_inputs_deleted_under_a_running_scorer_are_reported_and_it_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.feed(10)
    place = [TopicPartition(scene.topic, 0)]
    acts: list[str] = []
    original = KafkaBroker.poll

    def poll(broker: KafkaBroker, max_records: int, timeout: float) -> Polled | None:
        while acts:  # in the thread that owns the client
            getattr(broker._consumer, acts.pop())(place)
        return original(broker, max_records, timeout)

    monkeypatch.setattr(KafkaBroker, "poll", poll)
    with running(scene.settings) as scorer:
        wait_until(lambda: len(scene.sources()) == 10, what="ten scores")
        acts.append("pause")
        wait_until(lambda: not acts, what="the partition to be paused")
        scene.feed(10)
        scene.delete_records(17)
        acts.append("resume")
        wait_until(lambda: len(scene.sources()) == 13, what="the remaining scores")
        wait_until(
            lambda: b'inputs_lost_total{partition="0"} 7.0' in scorer._metrics.render(),
            what="the metric",
        )
    assert scene.sources()[10:] == [17, 18, 19]


def test_missing_and_recreated_output_topic_is_said_and_scoring_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    output = scene.topics.output_topic
    scene.feed(5)
    with running(scene.settings) as scorer:
        wait_until(lambda: len(scene.sources()) == 5, what="five scores")
        admin = ClusterAdmin(scene.kafka.settings)
        admin.delete(output)
        wait_until(
            lambda: f"topic {output} does not exist any more" in (scorer.report()["problem"] or ""),
            what="the report to name the missing topic",
        )
        assert not scorer.report()["ready"]
        admin.create({output: wanted_topics(scene.topics)[output]}, 1)
        wait_until(lambda: scorer.report()["ready"], what="the scorer to be ready")
        scene.feed(4)
        wait_until(lambda: len(scene.sources()) == 4, what="scores in the new topic")
    assert scene.sources() == [5, 6, 7, 8]
    said = [r for r in caplog.records if "was deleted and recreated" in r.getMessage()]
    assert [(r.levelno, output in r.getMessage()) for r in said] == [(logging.ERROR, True)]
