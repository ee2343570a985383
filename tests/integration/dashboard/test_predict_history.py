"""/predict follows real scorers on real Kafka, and equals their scores bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from dashboard.history.kafka_log import KafkaStreamLog
from dashboard.history.opening import opened_histories
from dashboard.history.past import Histories, HistoryStatus
from dashboard.predicting import predict
from dashboard.settings import DashboardSettings
from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.rejections import Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.spans import Span
from stream_scorer.local.probe import pick_free_port
from stream_scorer.model.bundle import Bundle, build_files, load_bundle
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from stream_scorer.state import input_log
from stream_scorer.state.placement import partitions_of
from tests.conftest import MakeTopics
from tests.support.command_kit import delete_before, error_headers, transaction_of
from tests.support.dashboard_kit import StaticModel
from tests.support.history.scored_stream import history_draft, make_rows
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import Seen, read_all, wait_readable
from tests.support.scorer_kit import running, scorer_settings
from tests.support.state.kit import NotedFaults
from tests.support.waiting import wait_until

PARTITIONS = 3
BAD = b"{cut off"


def publish(folder: Path) -> Bundle:
    """Publish and promote a model that reads the history of cards."""
    store = FileStore(folder / "store")
    version = store.publish(*build_files(history_draft()))
    store.promote(version, store.current())
    return load_bundle(store.fetch(version), version)


def produce(
    settings: GroupSettings | DashboardSettings, rows: list[dict[str, Any]], bad: int = 0
) -> None:
    """Each row to the partition of its card; after every fifth row a record that cannot be read."""
    producer = open_producer(settings)
    cards = np.array([int(row["card1"]) for row in rows], np.int64)
    values = encode_transactions(build_batch(rows))
    for i, (value, p) in enumerate(zip(values, partitions_of(cards, PARTITIONS), strict=True)):
        producer.produce(settings.input_topic, value, str(cards[i]).encode(), int(p))
        if bad and i % 5 == 0:
            producer.produce(settings.input_topic, BAD, str(cards[i]).encode(), int(p))
    assert producer.flush(60) == 0


def scores(kafka: KafkaUnderTest, topics: TopicSettings) -> dict[int, float]:
    """By transaction, what the scorers published."""
    found = [decode_record("fraud_score", s.value) for s in read_all(
        kafka.settings, topics.output_topic)]  # fmt: skip
    return {record["transaction_id"]: record["score"] for record in found}


@contextmanager
def following(
    kafka: KafkaUnderTest,
    topics: TopicSettings,
    group_id: str,
    folder: Path,
    bundle: Bundle,
    mode: str,
) -> Iterator[Histories]:
    settings = DashboardSettings(
        **kafka.settings.model_dump(),
        **topics.model_dump(),
        kafka_group_id=group_id,
        model_store_uri=(folder / "store").as_uri(),
        predict_history=mode,
    )
    with opened_histories(settings, StaticModel(bundle)) as histories:
        yield histories


def status_of(histories: Histories) -> HistoryStatus:
    status = histories.status()
    assert status is not None
    return status


def ask(histories: Histories, bundle: Bundle, rows: list[dict[str, Any]]) -> Any:
    return predict(orjson.dumps({"transactions": rows}), bundle, histories)


def offsets(answer: Any) -> dict[int, int]:
    notes = [result["history"] for result in answer.results]
    return {note["partition"]: note["offset"] for note in notes if note["used"]}


@pytest.mark.timeout(600)
def test_predict_gives_the_score_that_the_stream_then_gives(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names, bundle = topics(PARTITIONS), publish(tmp_path)
    settings = scorer_settings(kafka, names, group_id, tmp_path)
    rows = make_rows(400)
    with (
        running(settings),
        following(kafka, names, group_id, tmp_path, bundle, "follow") as follow,
    ):
        produce(settings, rows[:300], bad=1)
        wait_until(lambda: len(scores(kafka, names)) >= 300, what="scores")
        wait_until(lambda: status_of(follow).is_complete, what="histories")
        ends = dict.fromkeys(range(PARTITIONS), 0)
        for seen in read_all(kafka.settings, names.input_topic):
            ends[seen.partition] = seen.offset + 1
        wait_until(lambda: offsets(ask(follow, bundle, rows[:300])) == ends, what="the end")
        # The next inputs of each partition; of each partition the first is compared.
        cards = np.array([int(row["card1"]) for row in rows[300:]], np.int64)
        _, firsts = np.unique(partitions_of(cards, PARTITIONS), return_index=True)
        chosen = [rows[300 + first] for first in firsts.tolist()]
        assert len(chosen) == PARTITIONS
        before = ask(follow, bundle, chosen)
        assert status_of(follow).problem == ""
        produce(settings, rows[300:])
        wait_until(lambda: len(scores(kafka, names)) >= 400, what="the other scores")
        published = scores(kafka, names)
        assert before.predictions == [published[row["TransactionID"]] for row in chosen]
        without = ask_without(bundle, chosen)
        assert before.predictions != without.predictions
    # A dashboard that only loads what is stored is as exact at the offset of its snapshot.
    with following(kafka, names, group_id, tmp_path, bundle, "snapshot") as snapshot:
        wait_until(lambda: status_of(snapshot).is_complete, what="snapshots")
        assert status_of(snapshot).problem == ""
        at = offsets(ask(snapshot, bundle, rows))
        assert set(at) == set(range(PARTITIONS))
        ids = {(s.partition, s.offset): transaction_of(s.value) for s in read_all(
            kafka.settings, names.input_topic)}  # fmt: skip
        chosen = [rows[ids[place] - 1] for place in at.items() if ids.get(place)]
        assert ask(snapshot, bundle, chosen).predictions == [
            published[row["TransactionID"]] for row in chosen
        ]


def ask_without(bundle: Bundle, rows: list[dict[str, Any]]) -> Any:
    return predict(orjson.dumps({"transactions": rows}), bundle)


@pytest.fixture
def log(settings: GroupSettings) -> Iterator[KafkaStreamLog]:
    log = KafkaStreamLog(settings, TransactionDecoder(LocalSchemas()))
    yield log
    log.close()


def test_committed_offsets_come_with_their_marks_while_a_txn_is_open(
    settings: GroupSettings, log: KafkaStreamLog
) -> None:
    produce(settings, make_rows(20))
    assert {p: place.offset for p, place in log.committed([0, 1, 2]).items()} == {
        0: None, 1: None, 2: None,
    }  # fmt: skip
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(60)
    consumer = open_consumer(settings, settings.kafka_group_id)
    metadata = consumer.consumer_group_metadata()
    for offset, commits in ((2, True), (4, False)):
        producer.begin_transaction()
        place = TopicPartition(settings.input_topic, 1, offset, f"era=3;sum={offset:016x}")
        producer.send_offsets_to_transaction([place], metadata, 60)
        if commits:
            producer.commit_transaction(60)
    wait_until(lambda: log.committed([1])[1].offset, what="the offset")
    found = log.committed([1])[1]
    assert (found.offset, found.mark) == (2, {"era": "3", "sum": f"{2:016x}"})
    producer.abort_transaction(60)
    consumer.close()


def test_spans_of_several_partitions_are_read_at_once_without_what_was_refused(
    settings: GroupSettings, log: KafkaStreamLog
) -> None:
    rows = make_rows(60)
    produce(settings, rows)
    faults = NotedFaults()
    ends = {p: log_end(settings, p) for p in range(PARTITIONS)}
    spans = {p: Span(1, end) for p, end in ends.items()}
    refused = {p: np.array([2], np.int64) for p in range(PARTITIONS)}
    for _ in range(2):  # the connection is used again
        found: dict[int, list[int]] = {p: [] for p in range(PARTITIONS)}
        for part in log.read(spans, refused, None, faults):
            found[part.partition] += part.offsets.tolist()
        assert found == {p: [1, *range(3, end)] for p, end in ends.items()}
    assert faults.seen == []
    delete_before(settings, settings.input_topic, {1: 3})
    found = {p: [] for p in range(PARTITIONS)}
    for part in log.read(spans, refused, None, faults):
        found[part.partition] += part.offsets.tolist()
    assert faults.seen == [("removed", settings.input_topic, 1, 1, 3)]
    assert found[1] == [*range(3, ends[1])]


def log_end(settings: GroupSettings, partition: int) -> int:
    return 1 + max(
        s.offset for s in read_all(settings, settings.input_topic) if s.partition == partition
    )


def test_dead_letters_are_read_with_their_stages(
    settings: GroupSettings, log: KafkaStreamLog
) -> None:
    producer = open_producer(settings)
    for offset, stage in ((4, "decode"), (7, "score")):
        record = Seen(2, offset, b"k", BAD, {})
        headers = error_headers(record, settings.input_topic, stage)
        producer.produce(settings.dlq_topic, BAD, b"k", 2, headers=headers)
    assert producer.flush(60) == 0
    wait_readable(settings, settings.dlq_topic)
    span = log.dead_letters(2)
    assert (span, log.dead_letters(0)) == (Span(0, 2), Span(0, 0))
    faults = NotedFaults()
    assert log.read_dead_letters({2: span}, faults) == {2: {4: Stage.DECODE, 7: Stage.SCORE}}
    assert log.read_dead_letters({2: Span(1, 2)}, faults) == {2: {7: Stage.SCORE}}


def test_broker_that_does_not_answer_is_an_error_that_may_pass(
    settings: GroupSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_log, "QUERY_SECONDS", 0.5)
    nowhere = settings.model_copy(
        update={"kafka_bootstrap_servers": f"127.0.0.1:{pick_free_port()}"}
    )
    log = KafkaStreamLog(nowhere, TransactionDecoder(LocalSchemas()))
    with pytest.raises((RetryableError, FatalError)) as caught:
        log.committed([0])
    assert isinstance(caught.value, RetryableError)
    log.close()
