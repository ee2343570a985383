"""Card histories with real processes on real Kafka: kills, moves, and the audit of every score."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.verify import AuditOptions, RecomputeOptions, verify_topics
from stream_scorer.kafka.clients import open_producer
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from stream_scorer.state.input_log import KafkaInputLog
from stream_scorer.state.placement import partitions_of
from stream_scorer.state.reader import HistoryReader
from tests.conftest import MakeTopics
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import SOON_MISSED, ScorerUnderTest, fleet
from tests.support.records import read_all
from tests.support.state.history_kit import encode_rows, make_card_rows
from tests.support.state.published import SPEC, publish_history
from tests.support.waiting import wait_until

PARTITIONS = 4
BAD_SHARE = 0.01


def feed(kafka: KafkaUnderTest, topics: TopicSettings, rows: list[dict[str, Any]]) -> None:
    """Produce transactions to their cards' partitions, a few of them cut off."""
    chance = random.Random(len(rows))
    cards = np.array([int(row.get("card1", 0)) for row in rows], np.int64)
    producer = open_producer(kafka.settings)
    where = partitions_of(cards, PARTITIONS).tolist()
    for row, value, partition in zip(rows, encode_rows(rows), where, strict=True):
        bad = chance.random() < BAD_SHARE
        key = str(int(row.get("card1", 0))).encode()
        producer.produce(topics.input_topic, value[:-3] if bad else value, key, partition)
    assert producer.flush(60) == 0


def history_counts(scorer: ScorerUnderTest, name: str) -> dict[str, float]:
    """The counts of a metric by its label."""
    pattern = rf'^fraud_scorer_history_{name}_total\{{\w+="(\w+)"\}} (\S+)$'
    return {m[1]: float(m[2]) for m in re.finditer(pattern, scorer.metrics(), re.MULTILINE)}


def committed(kafka: KafkaUnderTest, topics: TopicSettings) -> int:
    return sum(len(read_all(kafka.settings, t)) for t in (topics.output_topic, topics.dlq_topic))


def audit(
    kafka: KafkaUnderTest, topics: TopicSettings, group_id: str, folder: Path
) -> dict[str, Any]:
    """Every score computed again, and every mark compared."""
    settings = GroupSettings(
        **kafka.settings.model_dump(), **topics.model_dump(), kafka_group_id=group_id
    )
    log = KafkaInputLog(settings, TransactionDecoder(LocalSchemas()))
    reader = HistoryReader(HistoryStore(FileObjects(folder / "store"), is_trusted=True), log)
    bundles = BundlesByVersion(FileStore(folder / "store"), ())
    options = AuditOptions(recompute=RecomputeOptions(1, bundles, reader))
    report = verify_topics(settings, options)
    log.close()
    assert report.is_verified, report.as_json()
    found: dict[str, Any] = report.as_json()
    return found


def test_scores_survive_kills_and_moves_with_the_history_of_one_pass(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    store = FileStore(tmp_path / "store")
    histories = HistoryStore(FileObjects(tmp_path / "store"), is_trusted=True)
    publish_history(store, histories)
    rows = make_card_rows(4_000, cards=60)
    rounds = 3
    with fleet(
        kafka.settings, names, group_id, tmp_path,
        BATCH_MAX_RECORDS="40", HISTORY_REPLAY_MAX="200", KAFKA_GROUP_PROTOCOL="consumer",
        **SOON_MISSED,
    ) as scorers:  # fmt: skip
        survivor = scorers.start()
        survivor.wait_ready()
        for number in range(rounds):
            victim = scorers.start()
            victim.wait_ready()
            # Else the survivor may have scored them all before the victim has a partition.
            wait_until(
                lambda victim=victim: victim.sample().partitions > 0,  # type: ignore[misc]
                what="the victim to have partitions",
            )
            feed(kafka, names, rows[1_000 * number : 1_000 * (number + 1)])
            wait_until(
                lambda victim=victim: victim.sample().outcomes >= 40,  # type: ignore[misc]
                what="the victim to be at work",
            )
            victim.kill()
        feed(kafka, names, rows[3_000:])
        wait_until(
            lambda: committed(kafka, names) >= len(rows), 180, what="all outcomes", interval=0.5
        )
        restores = history_counts(survivor, "restores")
        snapshots = history_counts(survivor, "snapshots")
        assert survivor.terminate() == 0
    # Whatever moved was compared with the mark of the one before.
    assert restores["checked"] > 0
    assert restores["mismatch"] == 0
    assert snapshots["created"] > 0
    assert snapshots["different"] == 0
    era = histories.latest_era(SPEC.fingerprint)
    assert era is not None
    assert set(histories.all_snapshots(era)) == set(range(PARTITIONS))
    found = audit(kafka, names, group_id, tmp_path)
    assert found["inputs"] == len(rows)
    again = found["recompute"]
    assert again["compared"] == found["scores"] > 0.9 * len(rows)
    assert (again["not_reproduced"], again["not_judged"]) == (0, 0)
    assert again["marks_compared"] == PARTITIONS
