"""Settings of a group of its own on the Kafka under test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.command_kit import PARTITIONS
from tests.support.kafka.kafka_under_test import KafkaUnderTest


@pytest.fixture
def settings(kafka: KafkaUnderTest, topics: MakeTopics, group_id: str) -> GroupSettings:
    return GroupSettings(
        **kafka.settings.model_dump(),
        **topics(PARTITIONS).model_dump(),
        kafka_group_id=group_id,
        schema_registry_url=None,
        schema_registry_basic_auth_user_info=None,
    )


@pytest.fixture
def environment(
    settings: GroupSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GroupSettings]:
    """The settings as environment variables, for commands run through ``main``."""
    for name, value in settings.model_dump(exclude_none=True).items():
        monkeypatch.setenv(name.upper(), str(value))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield settings
    root.handlers[:], root.level = handlers, level
