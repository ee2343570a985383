"""A topic that is deleted and created again on real Apache Kafka has another id."""

from __future__ import annotations

from contextlib import closing

from dashboard.cases.kafka_log import KafkaLog
from dashboard.cases.log import Channel
from dashboard.feed.source import KafkaScores
from stream_scorer.errors import ScorerError
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.settings import GroupSettings
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.names import random_topics
from tests.support.waiting import wait_until


def test_recreated_topics_have_another_id_for_readers_that_are_open(kafka: KafkaUnderTest) -> None:
    topics, admin = random_topics(), open_admin(kafka.settings)
    names = [topics.labels_topic, topics.audit_topic, topics.output_topic]
    created = {name: dict[str, str]() for name in names}
    create_topics(admin, created, 1, -1)
    settings = GroupSettings(**kafka.settings.model_dump(), **topics.model_dump())
    log = KafkaLog(settings)
    with (
        closing(log),
        closing(log.open_reader()) as reader,
        closing(KafkaScores(settings, topics.output_topic)) as scores,
    ):

        def ids() -> dict[str, str | None]:
            try:
                desk, found = reader.fetch_bounds(), scores.fetch_bounds()
            except ScorerError:  # a new topic has no leader for a moment
                return {}
            own = {channel.value: desk.topic_ids.get(channel) for channel in Channel}
            return {**own, "scores": None if found is None else found.topic_id}

        def all_ids() -> dict[str, str | None] | None:
            found = ids()
            return found if len(found) == 3 and None not in found.values() else None

        before = wait_until(all_ids, what="the topics")
        for future in admin.delete_topics(names[1:]).values():
            future.result(30)
        wait_until(lambda: list(ids().values())[1:] == [None, None], what="they are deleted")
        create_topics(admin, {name: created[name] for name in names[1:]}, 1, -1)
        after = wait_until(all_ids, what="they are back")
        assert after["labels"] == before["labels"]
        assert after["audit"] != before["audit"]
        assert after["scores"] != before["scores"]
        for future in admin.delete_topics(names).values():
            future.result(30)
