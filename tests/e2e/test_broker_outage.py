"""The broker is down when a scorer stops or starts. Outages under load are in the campaigns."""

from __future__ import annotations

from pathlib import Path

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.probe import pick_free_port, plain_settings
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.process import scorer as scorer_process
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics, StartBroker
from tests.support.factories import make_transactions, publish
from tests.support.processes import SOON_MISSED, fleet
from tests.support.records import produce
from tests.support.waiting import wait_until


def _broker_with_records(
    own_broker: StartBroker, topics: MakeTopics, folder: Path, records: int
) -> tuple[EmbeddedBroker, TopicSettings, list[bytes]]:
    """A broker with records on three partitions, and a model in the folder's store."""
    broker = own_broker(folder / "kafka")
    names = topics(3, broker.settings)
    publish(FileStore(folder / "store"))
    values = encode_transactions(build_batch(make_transactions(records)))
    produce(broker.settings, names.input_topic, values, 3)
    return broker, names, values


def test_scorer_stops_within_its_grace_period_while_the_broker_is_down(
    own_broker: StartBroker, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    broker, names, _ = _broker_with_records(own_broker, topics, tmp_path, 300)
    with fleet(broker.settings, names, group_id, tmp_path, **SOON_MISSED) as scorers:
        scorer = scorers.start()
        wait_until(
            lambda: scorer.readiness()["ready"] and scorer.sample().outcomes > 0, 120,
            what="work in progress",
        )  # fmt: skip
        broker.kill()
        scorer.process.terminate()
        scorer.process.wait(60)
    assert scorer_process._GRACE_SECONDS < 30  # Kubernetes' default; the rest is for slow machines


def test_scorer_started_before_the_broker_reports_what_it_waits_for_and_then_works(
    own_broker: StartBroker, group_id: str, tmp_path: Path, topics: MakeTopics
) -> None:
    port = pick_free_port()
    early = plain_settings(f"127.0.0.1:{port}")
    publish(FileStore(tmp_path / "store"))
    with fleet(early, TopicSettings(), group_id, tmp_path) as scorers:
        scorer = scorers.start()
        wait_until(
            lambda: "waiting for the topics" in (scorer.readiness()["problem"] or ""), 120,
            what="the scorer to report that it waits",
        )  # fmt: skip
        broker = own_broker(tmp_path / "kafka", port=port)
        wait_until(
            lambda: "no topic" in (scorer.readiness()["problem"] or ""), 120,
            what="the scorer to report missing topics",
        )  # fmt: skip
        from stream_scorer.process.topics import ensure_topics

        ensure_topics(GroupSettings(**broker.settings.model_dump(), kafka_group_id=group_id), 2, 1)
        values = encode_transactions(build_batch(make_transactions(10)))
        produce(broker.settings, "transactions", values, 2)
        wait_until(lambda: scorer.sample().outcomes == 10, 120, what="ten outcomes")
        assert scorer.terminate() == 0
