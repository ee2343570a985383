"""Requests that a broker refuses for a moment are repeated; others are not."""

from __future__ import annotations

from typing import Any

import pytest

from stream_scorer.kafka import retry
from stream_scorer.kafka.driver import KafkaError, KafkaException, TopicPartition
from stream_scorer.kafka.retry import fetch_bounds

PLACE = TopicPartition("transactions", 0)
NEW_LEADER = KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
DENIED = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))


class Consumer:
    """Answers requests for the bounds of a partition from a script."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests = 0

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> Any:
        assert (place, timeout) == (PLACE, 3.0)
        self.requests += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, KafkaException):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(retry, "_NEW_LEADER_SECONDS", 0.05)


def test_partition_without_a_leader_for_a_moment_is_asked_again() -> None:
    consumer = Consumer(NEW_LEADER, NEW_LEADER, (3, 9))
    assert fetch_bounds(consumer, PLACE, 3.0) == (3, 9)  # type: ignore[arg-type]
    assert consumer.requests == 3


def test_partition_that_stays_without_a_leader_is_an_error_in_bounded_time() -> None:
    consumer = Consumer(NEW_LEADER)
    with pytest.raises(KafkaException) as caught:
        fetch_bounds(consumer, PLACE, 3.0)  # type: ignore[arg-type]
    assert caught.value.args[0].code() == KafkaError.NOT_LEADER_FOR_PARTITION
    assert consumer.requests > 1


@pytest.mark.parametrize("answer", [DENIED])
def test_refusal_is_final(answer: KafkaException) -> None:
    consumer = Consumer(answer)
    with pytest.raises(KafkaException):
        fetch_bounds(consumer, PLACE, 3.0)  # type: ignore[arg-type]
    assert consumer.requests == 1


def test_no_answer_is_a_timeout() -> None:
    with pytest.raises(KafkaException) as caught:
        fetch_bounds(Consumer(None), PLACE, 3.0)  # type: ignore[arg-type]
    assert caught.value.args[0].code() == KafkaError._TIMED_OUT
