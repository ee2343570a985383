"""The newest dead letters: read from the end of the topic, however long it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from stream_scorer.dead_letters.dead_letter import DeadLetter, parse_dead_letters
from stream_scorer.kafka.admin import topic_partitions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.reader import committed_spans, read_spans
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.text import printable
from stream_scorer.settings import GroupSettings

NEWEST: Final = 20
_GROUP: Final = "fraud-dashboard"  # appears in the broker's logs; no offsets are committed
_STALL_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 4.0
_MAX_CHARS: Final = 300
_MARKERS: Final = 3
"""Each committed transaction takes one offset for its marker, and often has one dead letter."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The newest dead letters, newest first.

    ``records`` is an upper bound: offsets of transaction markers count. It is None if the topic
    does not exist.
    """

    records: int | None
    newest: list[dict[str, Any]]


class DeadLetterSource(Protocol):
    """Reads dead letters. Raises RetryableError or FatalError."""

    def read(self) -> DeadLetters:
        """The newest dead letters now."""
        ...


class KafkaDeadLetters:
    """The dead letter topic on a Kafka cluster."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings

    def read(self) -> DeadLetters:
        """Reads the last offsets of each partition, and keeps the newest records."""
        settings, topic = self._settings, self._settings.dlq_topic
        count = topic_partitions(open_admin(settings), [topic], _REQUEST_SECONDS).get(topic)
        if count is None:
            return DeadLetters(None, [])
        spans = committed_spans(settings, _GROUP, topic, count)
        records = sum(span.high - span.low for span in spans.values())
        ends = {
            p: Span(max(span.low, span.high - NEWEST * _MARKERS), span.high)
            for p, span in spans.items()
        }
        found: list[DeadLetter] = []
        for batch in read_spans(settings, _GROUP, topic, ends, _STALL_SECONDS):
            found += parse_dead_letters(Records(batch))
        found.sort(key=lambda letter: (letter.time, letter.partition, letter.offset))
        return DeadLetters(records, [_row(letter) for letter in found[: -NEWEST - 1 : -1]])


def _row(letter: DeadLetter) -> dict[str, Any]:
    described = letter.as_json()
    return {
        "place": letter.place,
        "time": letter.time,
        "stage": printable(letter.stage[:_MAX_CHARS]),
        "reason": printable(letter.reason[:_MAX_CHARS]),
        "input": printable(letter.source[:_MAX_CHARS]),
        "value_bytes": described["value_bytes"],
    }
