"""``verify --recompute`` on real Kafka: scores are reproduced from their inputs, bit for bit."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.records import decode_record, encode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.audit.verify import AuditOptions, RecomputeOptions, verify_topics
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.ports import Outgoing
from tests.support.audit.scored_topics import add_scored
from tests.support.command_kit import PARTITIONS, delete_before, run_json
from tests.support.factories import make_batch, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all, wait_readable
from tests.support.scorer_kit import running, scorer_settings
from tests.support.scoring_kit import make_value
from tests.support.waiting import wait_until

BAD: list[bytes | None] = [b"garbage", None, make_value(7)[:-1]]


@pytest.fixture
def store(environment: GroupSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """An artifact store with two versions, which the commands find by the environment."""
    store = FileStore(tmp_path / "store")
    monkeypatch.setenv("MODEL_STORE_URI", store.where)
    assert publish(store, review=0.3) == "v1"
    assert publish(store, seed=2, review=0.2) == "v2"
    return store


def two_versions(settings: GroupSettings, store: FileStore, change: Any = None) -> tuple[int, int]:
    """Scores of both versions in each partition, and dead letters; the numbers of scores."""
    values: list[bytes | None] = [*encode_transactions(make_batch(45)), *BAD]
    return tuple(  # type: ignore[return-value]
        add_scored(
            settings,
            values,
            load_bundle(store.fetch(version), version),
            PARTITIONS,
            *([change] if change else []),
        )
        for version in ("v1", "v2")
    )


def recompute(
    settings: GroupSettings, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict[str, Any]]:
    code, printed = run_json(settings, capsys, "verify", "--recompute", "1", *more)
    return code, printed


def test_scores_of_two_versions_are_reproduced(
    environment: GroupSettings, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_versions(environment, store)
    store.reject("v1", {"reason": "withdrawn"})
    code, printed = recompute(environment, capsys)
    assert (code, printed["verified"], printed["dead_letters"]) == (0, True, 2 * len(BAD))
    assert printed["model_versions"] == {"v1": first, "v2": second} == {"v1": 45, "v2": 45}
    assert printed["recompute"]["compared"] == first + second
    assert printed["recompute"]["reasons"] == {}
    assert main(["verify", "--recompute", "7"]) == 0
    out = capsys.readouterr().out
    assert "scores recomputed (1 in 7)" in out
    assert "recomputed with equal bits (1 in 7)" in out.splitlines()[-1]
    assert run_json(environment, capsys, "verify", "--recompute")[1]["recompute"]["one_in"] == 100
    assert run_json(environment, capsys, "verify")[1]["recompute"] is None


def test_one_altered_bit_of_one_score_is_found(
    environment: GroupSettings, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    altered: list[tuple[dict[str, Any], float]] = []

    def forge(record: Outgoing) -> Outgoing:
        if record.topic != environment.output_topic or altered:
            return record
        fields = decode_record("fraud_score", record.value)
        if fields["source"]["partition"] != 1 or fields["source"]["offset"] < 5:
            return record
        score = math.nextafter(fields["score"], 0.0)
        altered.append((fields["source"], fields["score"]))
        return record._replace(value=encode_record("fraud_score", fields | {"score": score}))

    two_versions(environment, store, forge)
    ((source, score),) = altered
    code, printed = recompute(environment, capsys)
    assert (code, printed["verified"]) == (1, False)
    assert {fault: n for fault, n in printed["faults"].items() if n} == {"not_reproduced": 1}
    (offender,) = printed["offenders"]
    assert offender["input"] == {"partition": 1, "offset": source["offset"]}
    stated = math.nextafter(score, 0.0)
    assert offender["detail"] == f"score {stated!r}, recomputed {score!r}"
    assert main(["verify", "--recompute", "1"]) == 1
    assert f"(score {stated!r}, recomputed {score!r})" in capsys.readouterr().out
    assert main(["verify"]) == 0  # nothing else shows it


def test_scores_of_a_version_that_was_deleted_are_not_judged(
    environment: GroupSettings,
    store: FileStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = two_versions(environment, store)
    shutil.rmtree(tmp_path / "store" / "models" / "v1")
    code, printed = recompute(environment, capsys)
    reason = f"version v1 is not in the store {store.where}"
    assert (code, printed["recompute"]["compared"]) == (0, second)
    assert printed["recompute"]["reasons"] == {reason: first}
    assert printed["conclusion"].endswith(f"; {first} more could not be")
    shutil.rmtree(tmp_path / "store" / "models" / "v2")
    assert main(["verify", "--recompute"]) == 1
    assert "no model version in" in capsys.readouterr().err
    publish(store)  # v1 or a later one, which scored nothing here
    code, printed = recompute(environment, capsys)
    assert (code, printed["recompute"]["compared"]) == (1, 0)
    assert printed["conclusion"].startswith("NOT VERIFIED: none of 90 scores could be recomputed")


def test_scores_without_their_input_are_not_judged(
    environment: GroupSettings, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_versions(environment, store)
    delete_before(environment, environment.input_topic, {0: 5})
    code, printed = recompute(environment, capsys)
    assert (code, printed["recompute"]["compared"]) == (0, first + second - 5)
    assert printed["recompute"]["reasons"] == {"the input no longer exists": 5}


def test_interrupted_recomputation_continues_from_its_last_checkpoint(
    environment: GroupSettings, store: FileStore, tmp_path: Path
) -> None:
    first, second = two_versions(environment, store)
    commit(environment, 32)
    options = AuditOptions(
        state=tmp_path / "audit.state",
        stripe_offsets=20,
        recompute=RecomputeOptions(1, BundlesByVersion(store)),
    )

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_topics(environment, options, on_progress=interrupt)
    progress: list[tuple[int, int]] = []
    report = verify_topics(environment, options, lambda *at: progress.append(at))
    assert report.is_verified
    assert progress[-1][0] == progress[-1][1] < 250  # of 96 inputs twice, and 96 outcomes
    assert report.verdict.recomputed == first + second
    more = add_scored(
        environment,
        [make_value(number) for number in range(6)],
        load_bundle(store.fetch("v2"), "v2"),
        PARTITIONS,
    )
    report = verify_topics(environment, options)  # read, but not committed yet
    assert (report.verdict.recomputed, report.verdict.counts["waiting"]) == (0, more)
    commit(environment, 34)
    report = verify_topics(environment, options)
    assert (report.verdict.recomputed, report.verdict.not_recomputed) == (more, 0)
    assert report.verdict.totals["recomputed"] == first + second + more


def commit(settings: GroupSettings, offset: int) -> None:
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        places = [TopicPartition(settings.input_topic, p, offset) for p in range(PARTITIONS)]
        consumer.commit(offsets=places, asynchronous=False)
    finally:
        consumer.close()


def test_scores_of_a_scorer_that_changed_its_model_are_reproduced(
    environment: GroupSettings,
    kafka: KafkaUnderTest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = TopicSettings(**environment.model_dump(include=set(TopicSettings.model_fields)))
    settings = scorer_settings(kafka, names, environment.kafka_group_id, tmp_path)
    monkeypatch.setenv("MODEL_STORE_URI", settings.model_store_uri)
    store = FileStore(tmp_path / "store")
    publish(store, review=0.3)
    values: list[bytes | None] = [*encode_transactions(make_batch(60)), *BAD]

    def versions() -> set[str]:
        scores = read_all(environment, environment.output_topic)
        return {decode_record("fraud_score", record.value)["model_version"] for record in scores}

    with running(settings.model_copy(update={"model_guard": False})):
        produce(environment, environment.input_topic, values, PARTITIONS)
        wait_until(lambda: versions() == {"v1"}, what="scores of v1")
        publish(store, seed=2, review=0.3)

        def is_changed() -> bool:
            produce(environment, environment.input_topic, values[:3], PARTITIONS)
            return versions() == {"v1", "v2"}

        wait_until(is_changed, what="scores of v2")
    wait_readable(environment, environment.output_topic, environment.dlq_topic)
    code, printed = recompute(environment, capsys, "--committed")
    assert code == 0, printed["conclusion"]
    assert (
        printed["recompute"]["compared"]
        == printed["scores"]
        == sum(printed["model_versions"].values())
    )
    assert set(printed["model_versions"]) == {"v1", "v2"}
    assert printed["dead_letters"] == len(BAD)
