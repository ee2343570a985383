"""Topics that a model with history needs, checked on Kafka."""

from __future__ import annotations

import pytest

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.process.history_topics import (
    check_history_topics,
    judge_history_topics,
    read_history_configs,
)
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import ScorerSettings
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.names import random_topics


@pytest.fixture
def settings(kafka: KafkaUnderTest, monkeypatch: pytest.MonkeyPatch) -> ScorerSettings:
    """Settings with topics that do not exist yet."""
    topics = random_topics()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("INPUT_TOPIC", topics.input_topic)
    monkeypatch.setenv("DLQ_TOPIC", topics.dlq_topic)
    return load_settings(ScorerSettings)


def test_topics_that_keep_their_records_are_accepted(settings: ScorerSettings) -> None:
    create_topics(open_admin(settings), {settings.input_topic: {}, settings.dlq_topic: {}}, 1, 1)
    check_history_topics(settings)
    configs = read_history_configs(settings)
    found = judge_history_topics(settings.input_topic, settings.dlq_topic, configs)
    assert (found.faults, found.warnings) == ((), ())


def test_compacted_input_and_shorter_kept_dead_letters_are_noticed(
    settings: ScorerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    policies = {
        settings.input_topic: {"cleanup.policy": "compact,delete", "retention.ms": "604800000"},
        settings.dlq_topic: {"retention.ms": "3600000"},
    }
    create_topics(open_admin(settings), policies, 1, 1)
    with pytest.raises(FatalError, match=rf"{settings.input_topic} is compacted"):
        check_history_topics(settings)
    assert "retention.ms=3600000, the input's is 604800000" in caplog.text
