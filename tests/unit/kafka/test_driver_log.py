"""The driver's own lines in our log."""

from __future__ import annotations

import logging

from stream_scorer.kafka.config import client_config
from stream_scorer.kafka.driver_log import (
    CALLBACK_LOGGER,
    RepeatFilter,
    driver_logger,
    quiet_driver,
)
from stream_scorer.kafka.errors import log as callback_log
from stream_scorer.runtime.settings import KafkaSettings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def line(text: str, level: int = logging.WARNING, name: str = "librdkafka") -> logging.LogRecord:
    return logging.LogRecord(name, level, "here", 1, text, (), None)


def test_line_that_differs_only_in_its_numbers_is_logged_once_a_minute() -> None:
    clock = Clock()
    repeats = RepeatFilter(clock)
    lines = [line(f"FAIL [thrd:127.0.0.1:{p}]: refused (after {p}ms)") for p in range(369)]
    assert [repeats.filter(each) for each in lines] == [True] + [False] * 368
    assert repeats.filter(line("another text"))
    clock.now += 61
    again = line("FAIL [thrd:127.0.0.1:9]: refused (after 7ms)")
    assert repeats.filter(again)
    assert again.getMessage().endswith("(368 similar lines left out)")


def test_filter_keeps_few_texts() -> None:
    repeats = RepeatFilter(Clock())
    assert all(repeats.filter(line("x" * size)) for size in range(1, 1000))
    assert len(repeats._seen) <= 100


def test_every_client_logs_through_one_filter() -> None:
    for _ in range(2):
        config = client_config(KafkaSettings(kafka_bootstrap_servers="localhost:1"))
        assert config["logger"] is driver_logger()
    assert sum(isinstance(f, RepeatFilter) for f in driver_logger().filters) == 1


def test_command_is_quiet_about_connections_until_it_must_have_failed() -> None:
    clock = Clock()
    is_loud = quiet_driver(30.0, clock)
    refused = line("kafka: refused", name=CALLBACK_LOGGER)
    assert callback_log.name == CALLBACK_LOGGER
    assert not driver_logger().isEnabledFor(logging.ERROR)
    assert not is_loud(refused)
    assert is_loud(line("kafka: wrong password", logging.ERROR, CALLBACK_LOGGER))
    assert is_loud(line("something else", name="stream_scorer.cli"))
    clock.now += 30
    assert is_loud(refused)
