"""Partitions added to the input under a running scorer: noticed, said, and no record is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.model.store.file_store import FileStore
from tests.chaos.cluster_admin import ClusterAdmin
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all
from tests.support.scorer_kit import running_until_fatal, scorer_settings
from tests.support.waiting import wait_until

NOTICED_SECONDS = 90.0  # the client itself would notice after five minutes


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_added_partitions_wait_for_the_outcome_topics_and_are_then_scored(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path, protocol: str
) -> None:
    names = topics(1)
    publish(FileStore(tmp_path / "store"))
    settings = scorer_settings(kafka, names, group_id, tmp_path).model_copy(
        update={"kafka_group_protocol": protocol}
    )
    values: list[bytes | None] = [*encode_transactions(build_batch(make_transactions(20)))]
    admin = ClusterAdmin(kafka.settings)

    def scores(partition: int) -> int:
        found = read_all(kafka.settings, names.output_topic)
        return sum(s.partition == partition for s in found)

    with running_until_fatal(settings) as reasons:
        produce(kafka.settings, names.input_topic, values, 1)
        wait_until(lambda: scores(0) == 20, what="the first scores")
        admin.extend(names.input_topic, 2)
        produce(kafka.settings, names.input_topic, values, 2)  # ten to each
        wait_until(
            lambda: "has 1 partitions, but" in (reasons.report()["problem"] or ""),
            NOTICED_SECONDS, what="the report to name the shorter topic",
        )  # fmt: skip
        assert not reasons.report()["ready"]
        admin.extend(names.output_topic, 2)
        admin.extend(names.dlq_topic, 2)
        wait_until(lambda: scores(1) == 10, NOTICED_SECONDS, what="scores of the new partition")
        wait_until(lambda: scores(0) == 30, what="all scores of the old one")
        wait_until(lambda: reasons.report()["ready"], what="the scorer to be ready")
        assert reasons == []
    assert len(read_all(kafka.settings, names.output_topic)) == 40
