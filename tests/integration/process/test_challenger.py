"""A challenger beside a scorer on real Kafka: its scores are on a topic of their own."""

from __future__ import annotations

from pathlib import Path

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from tests.conftest import MakeTopics
from tests.support.factories import make_draft, make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import Seen, produce, read_all
from tests.support.scorer_kit import outcomes, running, scorer_settings
from tests.support.waiting import wait_until

ROWS = 200


def test_challengers_scores_have_the_places_and_keys_of_the_champions(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(2)
    store = FileStore(tmp_path / "store")
    publish(store)
    store.publish(*build_files(make_draft(seed=2)))
    store.challenge("v2", store.challenger())
    values: list[bytes | None] = list(encode_transactions(build_batch(make_transactions(ROWS))))
    rounds = 0

    def shadow() -> list[Seen]:
        return read_all(kafka.settings, names.shadow_topic)

    def more() -> bool:
        """Produce until the challenger is there: the scorer does not wait for it."""
        nonlocal rounds
        rounds += 1
        produce(kafka.settings, names.input_topic, values, partitions=2)
        wait_until(lambda: len(outcomes(kafka, names)[0]) == rounds * ROWS, what="scores")
        return bool(shadow())

    settings = scorer_settings(kafka, names, group_id, tmp_path)
    with running(settings):
        wait_until(more, what="the challenger's first scores")
        before = len(shadow())
        assert more()
        wait_until(lambda: len(shadow()) >= before + ROWS, what="a whole round of its scores")
    champion = {_place(s): s for s in outcomes(kafka, names)[0]}
    assert {decode_record("fraud_score", s.value)["model_version"] for s in champion.values()} == {
        "v1"
    }
    found = shadow()
    assert len({_place(s) for s in found}) == len(found)
    for seen in found:
        other = champion[_place(seen)]
        assert (seen.partition, seen.key) == (other.partition, other.key)
        assert decode_record("fraud_score", seen.value)["model_version"] == "v2"
        assert seen.headers["model-version"] == b"v2"


def _place(seen: Seen) -> tuple[int, int]:
    source = decode_record("fraud_score", seen.value)["source"]
    return source["partition"], source["offset"]
