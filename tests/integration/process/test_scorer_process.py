"""The scorer process in this interpreter on real Kafka: from a produced record to its outcome."""

from __future__ import annotations

from pathlib import Path

from schemas.batch import TransactionBatch, build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions, encode_transactions_json
from stream_scorer.model.store.file_store import FileStore
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce
from tests.support.scorer_kit import outcomes, running, scorer_settings
from tests.support.waiting import wait_until


def test_each_record_gets_one_outcome_in_order_on_its_partition(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(3)
    publish(FileStore(tmp_path / "store"))
    batch = build_batch(make_transactions(300))
    values: list[bytes | None] = [*encode_transactions(batch)]
    values[50] = b"not a transaction"
    values[51] = None
    values[52] = encode_transactions_json(batch)[52]
    produce(kafka.settings, names.input_topic, values, partitions=3)
    with running(scorer_settings(kafka, names, group_id, tmp_path)):
        wait_until(lambda: sum(map(len, outcomes(kafka, names))) >= 300, what="300 outcomes")
    scores, dead_letters = outcomes(kafka, names)
    assert len(scores) == 298
    assert len(dead_letters) == 2
    for partition in range(3):
        here = [s for s in scores if s.partition == partition]
        sources = [decode_record("fraud_score", s.value)["source"] for s in here]
        assert [s["partition"] for s in sources] == [partition] * len(here)
        offsets = [s["offset"] for s in sources]
        assert offsets == sorted(set(offsets))
    assert {d.headers["__connect.errors.stage"] for d in dead_letters} == {b"framing"}
    assert sorted(d.value or b"" for d in dead_letters) == [b"", b"not a transaction"]


def test_scorer_waits_for_topics_and_model_and_then_works(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(1)
    with running(scorer_settings(kafka, names, group_id, tmp_path)) as process:
        wait_until(
            lambda: "waiting for a model" in (process.report()["problem"] or ""), what="waiting"
        )
        produce(kafka.settings, names.input_topic, encode_transactions(_three()), partitions=1)
        publish(FileStore(tmp_path / "store"))
        wait_until(lambda: len(outcomes(kafka, names)[0]) == 3, what="three scores")
        wait_until(lambda: process.report()["ready"], what="the scorer to be ready")


def _three() -> TransactionBatch:
    return build_batch(make_transactions(3))
