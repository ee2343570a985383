"""Promotions of versions with and without card history, in running scorers on real Kafka."""

from __future__ import annotations

from pathlib import Path

from schemas.records import decode_record
from stream_scorer.audit.verify import AuditOptions, RecomputeOptions, verify_topics
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.process.scorer import ScorerProcess
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from stream_scorer.state.input_log import using_input_log
from stream_scorer.state.reader import HistoryReader
from tests.conftest import MakeTopics
from tests.support.factories import publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce
from tests.support.scorer_kit import outcomes, running, scorer_settings
from tests.support.state.history_kit import encode_rows, make_card_rows
from tests.support.state.published import SPEC, publish_history
from tests.support.waiting import wait_until

PARTITIONS = 3
EACH = 150


def scores_by_version(kafka: KafkaUnderTest, names: TopicSettings) -> dict[str, int]:
    found: dict[str, int] = {}
    for seen in outcomes(kafka, names)[0]:
        version = decode_record("fraud_score", seen.value)["model_version"]
        found[version] = found.get(version, 0) + 1
    return found


def test_versions_change_under_two_members_and_every_score_is_reproduced(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(PARTITIONS)
    store = FileStore(tmp_path / "store")
    histories = HistoryStore(FileObjects(tmp_path / "store"), is_trusted=True)
    publish(store)
    values = list(encode_rows(make_card_rows(4 * EACH, cards=12)))
    sent = 0

    def feed(version: str) -> None:
        """More inputs; wait until all have scores, the last ones by a version."""
        nonlocal sent
        produce(kafka.settings, names.input_topic, values[sent : sent + EACH], PARTITIONS)
        sent += EACH
        wait_until(
            lambda: (
                sum((found := scores_by_version(kafka, names)).values()) == sent
                and version in found
            ),
            what=f"{sent} scores, some by {version}",
        )

    settings = scorer_settings(kafka, names, group_id, tmp_path)
    second = settings.model_copy(
        update={"model_cache_dir": tmp_path / "cache2", "history_cache_dir": tmp_path / "history2"}
    )
    with running(settings) as one, running(second) as other:
        feed("v1")
        publish_history(store, histories)
        wait_for("v2", one, other)
        feed("v2")
        assert scores_by_version(kafka, names) == {"v1": EACH, "v2": EACH}
        store.promote("v1", store.current(), is_rollback=True)
        wait_for("v1", one, other)
        feed("v1")
        store.promote("v2", store.current())
        wait_for("v2", one, other)
        feed("v2")
        for process in (one, other):
            wait_until(lambda p=process: p.report()["ready"], what="both to be ready")  # type: ignore[misc]
        assert one.report()["problem"] is None
    assert scores_by_version(kafka, names) == {"v1": 2 * EACH, "v2": 2 * EACH}
    era = histories.latest_era(SPEC.fingerprint)
    assert era is not None
    assert sum(era.begin) == EACH  # where the group was when the first scorer needed it
    group = GroupSettings(
        **kafka.settings.model_dump(), **names.model_dump(), kafka_group_id=group_id
    )
    with using_input_log(group) as log:
        bundles = BundlesByVersion(store, ())
        recompute = RecomputeOptions(1, bundles, HistoryReader(histories, log))
        report = verify_topics(group, AuditOptions(recompute=recompute)).as_json()
    assert report["verified"], report
    again = report["recompute"]
    assert (again["compared"], again["not_reproduced"]) == (4 * EACH, 0)
    assert again["marks_compared"] == PARTITIONS


def wait_for(version: str, *processes: ScorerProcess) -> None:
    """Wait until all of them score with a version."""

    def is_served() -> bool:
        histories = [process._histories for process in processes]
        models = [parts.histories.model() if parts else None for parts in histories]
        return all(model is not None and model.version == version for model in models)

    wait_until(is_served, what=f"{version} to be served")
