"""An outage of the broker that is longer than all timeouts: the scorer waits, and loses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.kafka_transaction import KafkaTransaction
from stream_scorer.stream.ports import Outgoing, Polled
from tests.conftest import MakeTopics, StartBroker
from tests.support.factories import make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all
from tests.support.scorer_kit import running_until_fatal, scorer_settings
from tests.support.waiting import wait_until

TXN_SECONDS = 2.0
OUTAGE_SECONDS = 3 * TXN_SECONDS
"""Longer than a call's timeout, so that every call of the outage's batch fails."""


@pytest.fixture
def broker(own_broker: StartBroker, tmp_path: Path) -> EmbeddedBroker:
    return own_broker(tmp_path / "kafka")


@pytest.fixture
def names(broker: EmbeddedBroker, topics: MakeTopics) -> TopicSettings:
    return topics(1, broker.settings)


def values(count: int) -> list[bytes | None]:
    return [*encode_transactions(build_batch(make_transactions(count)))]


def kill(broker: EmbeddedBroker) -> Callable[[], None]:
    broker.kill()
    return broker.restart


def freeze(broker: EmbeddedBroker) -> Callable[[], None]:
    pid = broker.pid
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def poll(member: KafkaBroker) -> Polled:
    """The next records, with as many attempts as the loop would make."""

    def attempt() -> Polled | None:
        try:
            return member.poll(100, 0.2)
        except RetryableError:
            return None

    found = wait_until(attempt, what="records")
    assert found is not None
    return found


@pytest.mark.parametrize("begin", [kill, freeze])
def test_transaction_that_expires_in_an_outage_is_aborted_and_its_records_are_read_again(
    broker: EmbeddedBroker,
    names: TopicSettings,
    group_id: str,
    begin: Callable[[EmbeddedBroker], Callable[[], None]],
) -> None:
    produce(broker.settings, names.input_topic, [b"a", b"b"], 1)
    options = GroupOptions(
        group_id, names.input_topic, "classic", 6_000, 60_000, int(TXN_SECONDS * 1000), 1
    )
    member = KafkaBroker(broker.settings, options)
    polled = poll(member)
    txn = member.begin()
    record = Outgoing(names.output_topic, 0, b"key", b"before", [])
    txn.publish([record])
    end, begun = begin(broker), time.monotonic()
    with pytest.raises(RetryableError):
        txn.commit(polled)  # the offsets cannot be sent, so nothing is in doubt
    txn.abort(polled)
    with pytest.raises(RetryableError):  # nothing is read before the transaction has ended
        member.poll(100, 0.2)
    wait_until(lambda: time.monotonic() - begun > OUTAGE_SECONDS, what="the end of the outage")
    end()
    again = poll(member)
    assert again.values == polled.values
    txn = member.begin()
    txn.publish([record._replace(value=b"after")])
    txn.commit(again)
    member.close()
    found = wait_until(lambda: read_all(broker.settings, names.output_topic), what="the outcome")
    assert [s.value for s in found] == [b"after"]


def test_producer_that_another_has_fenced_still_ends_the_process(
    broker: EmbeddedBroker, names: TopicSettings, group_id: str
) -> None:
    """Only a fence that the transaction's own timeout explains is waited out."""
    produce(broker.settings, names.input_topic, [b"a"], 1)
    options = GroupOptions(group_id, names.input_topic, "classic", 6_000, 60_000, 5_000, 1)
    member = KafkaBroker(broker.settings, options)
    polled = poll(member)
    txn = member.begin()
    txn.publish([Outgoing(names.output_topic, 0, b"key", b"x", [])])
    thief = KafkaBroker(broker.settings, options)
    vars(thief._producers[0]).update(_config=member._producers[0]._config)
    thief._producers[0]._replace_client()
    with pytest.raises(FatalError):
        txn.commit(polled)
    thief.close()
    member.close()


def test_scorer_names_an_outage_and_waits_it_out_without_an_exit(
    broker: EmbeddedBroker,
    names: TopicSettings,
    group_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(FileStore(tmp_path / "store"))
    base = scorer_settings(KafkaUnderTest(broker.settings), names, group_id, tmp_path)
    settings = base.model_copy(
        update={
            "kafka_transaction_timeout_ms": int(TXN_SECONDS * 1000),
            "kafka_session_timeout_ms": 3_000,
        }
    )
    restart: list[Callable[[], None]] = []
    original = KafkaTransaction.publish

    is_produced = threading.Event()  # the scorer may read the first records before the last ones

    def publish_in_an_outage(txn: KafkaTransaction, records: Sequence[Outgoing]) -> None:
        if not restart:
            assert is_produced.wait(60)
            restart.append(kill(broker))
        original(txn, records)

    with running_until_fatal(settings) as reasons:
        produce(broker.settings, names.input_topic, values(20), 1)
        wait_until(lambda: len(read_all(broker.settings, names.output_topic)) == 20)
        monkeypatch.setattr(KafkaTransaction, "publish", publish_in_an_outage)
        produce(broker.settings, names.input_topic, values(20), 1)
        is_produced.set()
        begun = time.monotonic()
        wait_until(
            lambda: "no Kafka broker answers" in (reasons.report()["problem"] or ""),
            what="the report to name the outage",
        )
        assert not reasons.report()["ready"]
        wait_until(lambda: time.monotonic() - begun > 4 * TXN_SECONDS, what="a long outage")
        restart[0]()
        wait_until(lambda: reasons.report()["ready"], what="the scorer to be ready again")
        wait_until(
            lambda: len(read_all(broker.settings, names.output_topic)) >= 40, what="all scores"
        )
        assert reasons == []
    found = read_all(broker.settings, names.output_topic)
    assert [decode_record("fraud_score", s.value)["source"]["offset"] for s in found] == [
        *range(40)
    ]
