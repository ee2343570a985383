"""Runs the scorer process in this interpreter, on real Kafka."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_scorer.errors import FatalError
from stream_scorer.process.scorer import ScorerProcess
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import ScorerSettings
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import Seen, read_all
from tests.support.waiting import wait_until


def scorer_settings(
    kafka: KafkaUnderTest, topics: TopicSettings, group_id: str, folder: Path
) -> ScorerSettings:
    return ScorerSettings(
        **kafka.settings.model_dump(),
        **topics.model_dump(),
        kafka_group_id=group_id,
        model_store_uri=(folder / "store").as_uri(),
        model_cache_dir=folder / "cache",
        history_cache_dir=folder / "history",
        model_poll_seconds=0.2,
        metrics_port=0,
        metrics_host="127.0.0.1",
        kafka_session_timeout_ms=6_000,
    )


@contextmanager
def running(settings: ScorerSettings, *, is_from_start: bool = False) -> Iterator[ScorerProcess]:
    process = ScorerProcess(settings, is_from_start=is_from_start)
    thread = threading.Thread(target=process.run, name="scorer")
    thread.start()
    try:
        yield process
    finally:
        process.stop()
        thread.join(timeout=90)
        assert not thread.is_alive()


class Reasons(list[FatalError]):
    """Why a scorer ended by itself, and its report."""

    def __init__(self, process: ScorerProcess) -> None:
        super().__init__()
        self.report = process.report


@contextmanager
def running_until_fatal(settings: ScorerSettings) -> Iterator[Reasons]:
    """A scorer that may end by itself; the list receives the reason."""
    process = ScorerProcess(settings)
    reasons = Reasons(process)

    def run() -> None:
        try:
            process.run()
        except FatalError as error:
            reasons.append(error)

    thread = threading.Thread(target=run, name="scorer")
    thread.start()
    try:
        yield reasons
    finally:
        process.stop()
        thread.join(timeout=90)
        assert not thread.is_alive()


def reason_to_end(settings: ScorerSettings) -> str:
    """Why a scorer with these settings ends by itself."""
    with running_until_fatal(settings) as reasons:
        wait_until(lambda: reasons, what="the scorer to end by itself")
    return str(reasons[0])


def outcomes(kafka: KafkaUnderTest, topics: TopicSettings) -> tuple[list[Seen], list[Seen]]:
    return (
        read_all(kafka.settings, topics.output_topic),
        read_all(kafka.settings, topics.dlq_topic),
    )
