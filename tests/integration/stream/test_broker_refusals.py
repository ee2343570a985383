"""Errors of the broker when Kafka refuses a record, and that a new member can continue."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import KafkaError, KafkaException
from stream_scorer.process.topics import MAX_BYTES
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.ports import Outgoing, Polled, Txn
from tests.chaos.cluster_admin import ClusterAdmin
from tests.conftest import MakeTopics
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until

Join = Callable[..., KafkaBroker]
LIMIT = 6_000


@pytest.fixture
def names(topics: MakeTopics) -> TopicSettings:
    return topics(1)


@pytest.fixture
def join(kafka: KafkaUnderTest, names: TopicSettings, group_id: str) -> Iterator[Join]:
    made: list[KafkaBroker] = []

    def one_more(max_batch_bytes: int = 1_000_000) -> KafkaBroker:
        options = GroupOptions(
            group_id, names.input_topic, "classic", 6_000, 60_000, 5_000,
            max_batch_bytes=max_batch_bytes,
        )  # fmt: skip
        made.append(KafkaBroker(kafka.settings, options))
        return made[-1]

    yield one_more
    for broker in made:
        broker.close()


def poll(broker: KafkaBroker) -> Polled:
    polled = wait_until(lambda: broker.poll(10, 0.2), what="the input")
    assert polled is not None
    return polled


def noise(topic: str, partition: int = 0, count: int = 200) -> list[Outgoing]:
    chance = random.Random(1)
    return [Outgoing(topic, partition, b"key", chance.randbytes(100), []) for _ in range(count)]


def test_batch_over_a_lowered_topic_limit_is_fatal_and_the_next_member_sends_smaller_ones(
    kafka: KafkaUnderTest, names: TopicSettings, join: Join
) -> None:
    produce(kafka.settings, names.input_topic, [b"a"], 1)
    first = join()
    polled = poll(first)
    ClusterAdmin(kafka.settings).set_config(names.output_topic, MAX_BYTES, str(LIMIT))
    with pytest.raises(FatalError, match=rf"{names.output_topic} now accepts only smaller records"):
        first.begin().publish(noise(names.output_topic))
    first.close()
    second = join(LIMIT)
    polled = poll(second)
    txn = second.begin()
    txn.publish(noise(names.output_topic))
    txn.commit(polled)
    # The broker answers a commit before it has written the markers that make it visible.
    found = wait_until(lambda: read_all(kafka.settings, names.output_topic), what="the scores")
    assert len(found) == 200


def test_missing_output_partition_is_named_and_can_be_retried(
    kafka: KafkaUnderTest, names: TopicSettings, join: Join
) -> None:
    produce(kafka.settings, names.input_topic, [b"a"], 1)
    broker = join()
    polled = poll(broker)
    txn = broker.begin()
    txn.publish(noise(names.output_topic, 0, 1))  # now the topic's metadata is known
    txn.commit(polled)
    with pytest.raises(RetryableError, match=rf"{names.output_topic} has no partition 1.*creat"):
        broker.begin().publish(noise(names.output_topic, 1, 1))


def test_member_whose_producer_was_fenced_ends_and_closes_without_another_error(
    kafka: KafkaUnderTest, names: TopicSettings, group_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first error ends the member; the same error while closing is only logged."""
    monkeypatch.setattr(
        "stream_scorer.stream.kafka_options.uuid", SimpleNamespace(uuid4=lambda: "same")
    )
    produce(kafka.settings, names.input_topic, [b"a"], 1)
    options = GroupOptions(group_id, names.input_topic, "classic", 6_000, 60_000, 5_000, 1)
    first = KafkaBroker(kafka.settings, options)
    polled = poll(first)
    second = KafkaBroker(kafka.settings, options)  # takes over the transactional id
    txn = first.begin()
    with pytest.raises(FatalError, match="fenced"):
        publish_and_commit(txn, noise(names.output_topic), polled)
    first.close()
    second.close()
    assert read_all(kafka.settings, names.output_topic) == []


def publish_and_commit(txn: Txn, records: list[Outgoing], polled: Polled) -> None:
    """Publish and commit as the loop does; abort on retryable errors."""
    try:
        txn.publish(records)
        txn.commit(polled)
    except RetryableError:
        txn.abort(polled)


def raised_among_callbacks(code: int) -> Callable[..., int]:
    """A driver's call that fails as it does on a fatal error while callbacks are pending."""

    def call(*_: object) -> int:
        raise SystemError("a callback returned a result with an error set") from KafkaException(
            KafkaError(code, "gone", fatal=True)
        )

    return call


def test_error_raised_among_callbacks_is_translated_and_closing_continues(
    kafka: KafkaUnderTest, names: TopicSettings, join: Join
) -> None:
    produce(kafka.settings, names.input_topic, [b"a"], 1)
    broker = join()
    polled = poll(broker)
    fails = raised_among_callbacks(KafkaError._FENCED)
    flushed: list[float] = []
    broken = SimpleNamespace(
        begin_transaction=lambda: None, produce=lambda *_, **__: None, poll=lambda _: 0,
        flush=fails, send_offsets_to_transaction=fails, abort_transaction=fails,
    )  # fmt: skip
    well = SimpleNamespace(flush=flushed.append)
    consumer, clients = broker._consumer, [p._client for p in broker._producers]
    for producer in broker._producers:
        vars(producer)["_client"] = broken
    txn = broker.begin()
    for call in (
        partial(txn.publish, noise(names.output_topic, 0, 1)),
        partial(txn.commit, polled),
        partial(txn.abort, polled),
    ):
        with pytest.raises(FatalError, match="gone"):
            call()
    vars(broker).update(_consumer=SimpleNamespace(poll=fails, close=fails))
    with pytest.raises(FatalError, match="gone"):
        broker.poll(10, 0.2)
    vars(broker._producers[1])["_client"] = well
    broker.close()
    assert len(flushed) == 1
    vars(broker).update(_consumer=consumer)
    for producer, client in zip(broker._producers, clients, strict=True):
        vars(producer)["_client"] = client


def test_every_poll_serves_the_idle_producers(join: Join) -> None:
    """Otherwise errors of an outage would pile up in their queues."""
    broker = join()
    clients, served = [p._client for p in broker._producers], list[str]()
    for producer, name in zip(broker._producers, "ab", strict=True):
        vars(producer)["_client"] = SimpleNamespace(poll=lambda _, name=name: served.append(name))
    broker.poll(10, 0)
    for producer, client in zip(broker._producers, clients, strict=True):
        vars(producer)["_client"] = client
    assert served == ["a", "b"]


def test_time_of_a_hanging_call_is_visible_to_another_thread(join: Join) -> None:
    broker = join()
    release = threading.Event()
    caller = threading.Thread(target=lambda: broker._calls.make(lambda: release.wait(30)))
    assert broker.call_seconds() == 0.0
    caller.start()
    wait_until(lambda: broker.call_seconds() > 0.1, what="the call to last a while")
    release.set()
    caller.join()
    assert broker.call_seconds() == 0.0
