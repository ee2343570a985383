"""A producer whose client gets no answer any more is replaced by one with the same id."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import KafkaError, KafkaException
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import kafka_producer
from stream_scorer.stream.kafka_calls import TransactionCalls
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.kafka_producer import OutcomeProducer
from tests.support.kafka.fake_clients import Sink

TIMEOUT_SECONDS = 15.0
NO_ANSWER = KafkaException(KafkaError(KafkaError._TIMED_OUT))


class Client(Sink):
    """A producer's client that may get no answer; each request without one takes its timeout."""

    def __init__(self, scene: Scene, transactional_id: str) -> None:
        super().__init__()
        self.scene = scene
        self.transactional_id = transactional_id
        self.is_stale = scene.is_outage
        self.calls: list[str] = []

    def _ask(self, call: str, seconds: float) -> None:
        self.calls.append(call)
        if self.is_stale or self.scene.is_outage:
            self.scene.now += seconds
            raise NO_ANSWER

    def init_transactions(self, seconds: float) -> None:
        self._ask("init", seconds)

    def abort_transaction(self, seconds: float) -> None:
        self._ask("abort", seconds)


@dataclass
class Scene:
    """The time, and whether any broker answers; a client made in an outage stays without one."""

    now: float = 0.0
    is_outage: bool = False
    clients: list[Client] = field(default_factory=list)

    def build(self, _: object, config: dict[str, Any]) -> Any:
        self.clients.append(Client(self, config["transactional.id"]))
        return self.clients[-1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    monkeypatch.setattr(kafka_producer, "build_client", made.build)
    monkeypatch.setattr(kafka_producer, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def producer(scene: Scene) -> OutcomeProducer:
    assert not scene.clients
    options = GroupOptions("g", "t", txn_timeout_ms=int(TIMEOUT_SECONDS * 1000))
    made = OutcomeProducer(KafkaSettings(), options, TransactionCalls(0))
    made.connect()
    made.begin()
    return made


def attempts(producer: OutcomeProducer, scene: Scene, most: int) -> int:
    """How many attempts it takes until the abort is complete."""
    for number in range(1, most + 1):
        scene.now += 1.0
        try:
            producer.finish_abort()
        except RetryableError:
            continue
        return number
    raise AssertionError(f"not complete after {most} attempts")


def test_client_that_cannot_abort_for_a_transaction_timeout_is_replaced(
    producer: OutcomeProducer, scene: Scene
) -> None:
    scene.clients[0].is_stale = True
    producer.abort()
    assert attempts(producer, scene, 3) <= 2
    old, new = scene.clients
    assert old.transactional_id == new.transactional_id  # which aborts what the old one began
    assert new.calls == ["init"]
    producer.begin()


def test_client_that_answers_again_in_time_is_kept(
    producer: OutcomeProducer, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def refuse(_: float) -> None:
            raise NO_ANSWER

        patch.setattr(scene.clients[0], "abort_transaction", refuse)
        producer.abort()
    assert attempts(producer, scene, 1) == 1
    assert len(scene.clients) == 1


def test_new_client_that_gets_no_answer_either_is_replaced_too(
    producer: OutcomeProducer, scene: Scene
) -> None:
    scene.is_outage = True
    producer.abort()
    for _ in range(4):
        with pytest.raises(RetryableError):
            producer.finish_abort()
    scene.is_outage = False  # the clients made in it stay without an answer
    assert attempts(producer, scene, 4) <= 4
    assert not scene.clients[-1].is_stale
    assert len({client.transactional_id for client in scene.clients}) == 1


def test_long_outage_makes_few_clients_and_ends_the_process_after_ten_minutes(
    producer: OutcomeProducer, scene: Scene
) -> None:
    scene.is_outage = True
    producer.abort()
    with pytest.raises(FatalError, match="cannot abort"):
        attempts(producer, scene, 1_000)
    assert scene.now < 11 * 60
    assert len(scene.clients) <= 1 + 600 / 30
