"""What the topic watch reports, with scripted answers of the broker."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.admin import TopicSummary
from stream_scorer.observability.topic_watch import TopicWatch, find_problem
from stream_scorer.runtime.settings import KafkaSettings

NAMES = ("in", "out", "dlq")
START = {name: TopicSummary(f"id-{name}", 2) for name in NAMES}


class Broker:
    """Answers with these topics, or not at all."""

    def __init__(self) -> None:
        self.topics: Mapping[str, TopicSummary] | None = START
        self.said: list[str | None] = []
        self.watch = TopicWatch(KafkaSettings(), NAMES, START, self.said.append, self.answer)

    def answer(self) -> Mapping[str, TopicSummary]:
        if self.topics is None:
            raise RetryableError("connection refused")
        return self.topics

    def check(self, **changed: TopicSummary) -> str | None:
        self.topics = {**START, **changed}
        self.watch.check()
        return self.said[-1]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_unchanged_topics_are_no_problem(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    assert broker.check() is None
    broker.watch.raise_fatal()
    assert caplog.records == []


def test_outage_is_reported_at_each_check_and_logged_once_with_its_end(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker.topics = None
    broker.watch.check()
    broker.watch.check()
    assert [s and s.startswith("no Kafka broker answers") for s in broker.said] == [True, True]
    assert "connection refused" in str(broker.said[0])
    assert broker.check() is None
    assert [r.levelno for r in caplog.records] == [logging.ERROR, logging.INFO]
    broker.watch.raise_fatal()


def test_recreated_input_is_fatal_and_names_topic_ids_and_the_way_out(broker: Broker) -> None:
    broker.check(**{"in": TopicSummary("other", 2)})
    with pytest.raises(FatalError, match=r"topic in .*recreated.*id-in.*other.*--from-start"):
        broker.watch.raise_fatal()


def test_input_recreated_while_the_watch_saw_it_missing_is_fatal(broker: Broker) -> None:
    broker.topics = {name: START[name] for name in ("out", "dlq")}
    broker.watch.check()
    assert "topic in does not exist any more" in str(broker.said[-1])
    broker.watch.raise_fatal()  # only missing: its records may still be there under its name
    broker.check(**{"in": TopicSummary("other", 2)})
    with pytest.raises(FatalError, match="recreated"):
        broker.watch.raise_fatal()


@pytest.mark.parametrize("topic", ["out", "dlq"])
def test_recreated_outcome_topic_is_an_error_in_the_log_once_and_not_fatal(
    broker: Broker, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    for _ in range(2):
        assert broker.check(**{topic: TopicSummary("other", 2)}) is None
    broker.watch.raise_fatal()
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    for part in (f"topic {topic}", f"id-{topic}", "other", "stream-scorer verify"):
        assert part in said.getMessage()


def test_added_partitions_are_logged_and_short_outcome_topics_are_a_problem_until_extended(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    grown = TopicSummary("id-in", 4)
    problem = str(broker.check(**{"in": grown}))
    assert "topic out has 2 partitions, but in has 4" in problem
    assert "stream-scorer topics create" in problem
    assert "topic in has 4 partitions now (2 before)" in caplog.text
    assert "Keys move to other partitions" in caplog.text
    out, dlq = TopicSummary("id-out", 4), TopicSummary("id-dlq", 4)
    assert "topic dlq has 2" in str(broker.check(**{"in": grown, "out": out}))
    assert broker.check(**{"in": grown, "out": out, "dlq": dlq}) is None
    broker.watch.raise_fatal()


def test_brokers_without_topic_ids_compare_nothing(broker: Broker) -> None:
    assert broker.check(**{"in": TopicSummary(None, 2), "out": TopicSummary(None, 2)}) is None
    broker.watch.raise_fatal()


def test_larger_outcome_topics_are_no_problem() -> None:
    now = {**START, "out": TopicSummary("id-out", 9)}
    assert find_problem(NAMES, now) is None
