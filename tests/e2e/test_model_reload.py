"""A running scorer loads a new model, and keeps the current one if the new one is damaged."""

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
from tests.support.processes import fleet
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until


def test_v2_takes_over_and_a_corrupt_v3_is_refused(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(2)
    store = FileStore(tmp_path / "store")
    publish(store, seed=1)
    values = encode_transactions(build_batch(make_transactions(100)))

    def versions() -> list[str]:
        scores = read_all(kafka.settings, names.output_topic)
        assert all(
            s.headers["model-version"] == decode_record("fraud_score", s.value)[
                "model_version"
            ].encode()
            for s in scores
        )  # fmt: skip
        return [str(decode_record("fraud_score", s.value)["model_version"]) for s in scores]

    with fleet(kafka.settings, names, group_id, tmp_path) as scorers:
        scorer = scorers.start()
        scorer.wait_ready()
        produce(kafka.settings, names.input_topic, values, 2)
        wait_until(lambda: len(versions()) == 100, what="scores by v1")

        assert publish(store, seed=2) == "v2"
        wait_until(lambda: 'model_version{version="v2"} 1.0' in scorer.metrics(), what="v2")
        produce(kafka.settings, names.input_topic, values, 2)
        wait_until(lambda: len(versions()) == 200, what="scores by v2")

        model, rest = build_files(make_draft(seed=3))
        damaged = store.publish(model[:-7] + b"damaged", rest)
        store.promote(damaged, store.current())
        wait_until(
            lambda: "fraud_scorer_model_refusals_total 1.0" in scorer.metrics(), what="refusal"
        )
        produce(kafka.settings, names.input_topic, values, 2)
        wait_until(lambda: len(versions()) == 300, what="scores after the refusal")
        found = versions()
        assert sorted(found) == ["v1"] * 100 + ["v2"] * 200
        assert scorer.readiness()["ready"]
        assert scorer.log.read_text().count("model refused") == 1
        assert "sha256" in scorer.log.read_text()
        assert scorer.terminate() == 0
