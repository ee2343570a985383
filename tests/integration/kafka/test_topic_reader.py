"""Reading a topic from one offset to another while records are removed from it."""

from __future__ import annotations

import pytest

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.spans import Span
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import delete_before
from tests.support.records import produce

READER = "reader"


def read(
    settings: GroupSettings, spans: dict[int, Span]
) -> tuple[list[tuple[int | None, int | None]], list[tuple[int, int]]]:
    """Coordinates of the records that were read, and the calls of ``on_lost``."""
    lost: list[tuple[int, int]] = []
    batches = read_spans(
        settings, READER, settings.input_topic, spans, 20, lambda p, low: lost.append((p, low))
    )
    seen = [(message.partition(), message.offset()) for batch in batches for message in batch]
    return sorted(seen, key=str), lost


def filled(settings: GroupSettings, keep_from: dict[int, int]) -> None:
    """Write ten records to each of three partitions, and delete those before ``keep_from``."""
    produce(settings, settings.input_topic, [b"x"] * 30, 3)
    if keep_from:
        delete_before(settings, settings.input_topic, keep_from)


def test_removed_records_are_reported_and_the_rest_is_read(settings: GroupSettings) -> None:
    filled(settings, {0: 7, 1: 9})
    seen, lost = read(settings, {0: Span(2, 9), 1: Span(0, 5), 2: Span(8, 10)})
    assert seen == [(0, 7), (0, 8), (2, 8), (2, 9)]
    assert sorted(lost) == [(0, 7), (1, 9)]


def test_nothing_is_reported_if_nothing_was_removed(settings: GroupSettings) -> None:
    filled(settings, {0: 7})
    assert read(settings, {0: Span(7, 9), 1: Span(0, 1)}) == ([(0, 7), (0, 8), (1, 0)], [])


def test_topic_that_ends_before_the_requested_offset_is_a_clear_error(
    settings: GroupSettings,
) -> None:
    filled(settings, {})
    with pytest.raises(RetryableError, match="partition 1 ends before offset 50"):
        read(settings, {1: Span(50, 60)})
