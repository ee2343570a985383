"""Dead letters as values, and reading them from their topic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from schemas.rejections import CUT_HEADER, ERROR_HEADERS, OMITTED_HEADER
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.errors import UsageError
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans, time_offsets
from stream_scorer.kafka.spans import Span
from stream_scorer.kafka.topics import require_topics
from stream_scorer.settings import GroupSettings

READER_GROUP: Final = "-dlq"  # added to the scorers' group id; it never joins or commits

STALL_SECONDS: Final = 30.0

_MAX_DIGITS: Final = 19  # digits of a signed 64-bit number

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the dead letter topic.

    Attributes:
        partition: partition of the dead letter.
        offset: offset of the dead letter.
        time: when the dead letter was written, epoch milliseconds.
        errors: the ``__connect.errors.*`` headers, without that prefix.
        headers: the input's own headers.
        key: the input's key.
        value: the input's value; only its beginning if ``is_cut``.
        is_cut: the value was too large and was truncated.
        fault: why this record of the dead letter topic cannot be read; None if it can.
    """

    partition: int
    offset: int
    time: int
    errors: dict[str, str]
    headers: tuple[Header, ...]
    key: bytes | None
    value: bytes | None
    is_cut: bool
    fault: str | None = None

    @property
    def stage(self) -> str:
        """The stage at which the record failed."""
        return self.errors.get("stage", "")

    @property
    def reason(self) -> str:
        """Why the record failed."""
        return self.errors.get("exception.message", "")

    @property
    def omitted(self) -> str | None:
        """Why the input's own headers were left out; None if they were kept."""
        return self.errors.get(OMITTED_HEADER.removeprefix(ERROR_HEADERS))

    @property
    def exception_class(self) -> str:
        """The error class, such as ``DecodeError``."""
        return self.errors.get("exception.class.name", "")

    @property
    def source(self) -> str:
        """``topic partition-offset`` of the input."""
        errors = self.errors
        return f"{errors.get('topic')} {errors.get('partition')}-{errors.get('offset')}"

    @property
    def place(self) -> str:
        """``partition-offset`` of the dead letter, the argument of ``dlq show``."""
        return f"{self.partition}-{self.offset}"

    def as_json(self) -> dict[str, Any]:
        """The dead letter as JSON, without its payload."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "time": self.time,
            "stage": self.stage,
            "exception_class": self.errors.get("exception.class.name"),
            "reason": self.reason,
            "input": {
                "topic": self.errors.get("topic"),
                "partition": parse_number(self.errors.get("partition")),
                "offset": parse_number(self.errors.get("offset")),
            },
            "value_bytes": None if self.value is None else len(self.value),
            "is_cut": self.is_cut,
            "headers_omitted": self.omitted,
        }


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects dead letters; None in a field selects all.

    Attributes:
        stage: the stage at which the record failed.
        reason: text contained in the reason or the error class, case-insensitive.
        since: written at this time or later, epoch milliseconds.
        until: written before this time, epoch milliseconds.
        partition: partition of the dead letter.
    """

    stage: str | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None
    partition: int | None = None

    def __contains__(self, dead_letter: DeadLetter) -> bool:
        return (
            (self.stage is None or dead_letter.stage == self.stage)
            and (self.reason is None or self._has_reason(dead_letter, self.reason.lower()))
            and (self.since is None or dead_letter.time >= self.since)
            and (self.until is None or dead_letter.time < self.until)
            and (self.partition is None or dead_letter.partition == self.partition)
        )

    @staticmethod
    def _has_reason(dead_letter: DeadLetter, text: str) -> bool:
        return text in dead_letter.reason.lower() or text in dead_letter.exception_class.lower()


EVERYTHING: Final = DeadLetterFilter()


def parse_dead_letters(records: Records) -> Iterator[DeadLetter]:
    """Parse records of the dead letter topic; fields without a header stay empty."""
    faults, offsets, times = records.faults(), records.offsets.tolist(), records.times.tolist()
    for row, partition in enumerate(records.partitions.tolist()):
        headers = records.headers[row] or ()
        yield DeadLetter(
            partition=partition,
            offset=offsets[row],
            time=times[row],
            errors=error_headers(headers),
            headers=tuple(
                (name, _as_bytes(value))
                for name, value in headers
                if not name.startswith(ERROR_HEADERS) and name != CUT_HEADER
            ),
            key=records.keys[row],
            value=records.values[row],
            is_cut=any(name == CUT_HEADER for name, _ in headers),
            fault=faults.get(row),
        )


def read_dead_letters(
    settings: GroupSettings, selection: DeadLetterFilter = EVERYTHING
) -> Iterator[DeadLetter]:
    """The selected dead letters that exist now, each partition in offset order.

    Other partitions, and records from before ``since``, are not read.

    Raises:
        UsageError: no broker answers, or the topic or the selected partition is missing.
        RetryableError: the topic could not be read to its end.
    """
    topic = settings.dlq_topic
    group = settings.kafka_group_id + READER_GROUP
    partitions = require_topics(settings, [topic])[topic]
    spans = committed_spans(settings, group, topic, partitions)
    if selection.partition is not None:
        check_partition(topic, selection.partition, partitions)
        spans = {p: span for p, span in spans.items() if p == selection.partition}
    if selection.since is not None:
        starts = time_offsets(settings, group, topic, spans, selection.since) if spans else {}
        spans = {p: Span(max(spans[p].low, at), spans[p].high) for p, at in starts.items()}
    for records in read_spans(settings, group, topic, spans, STALL_SECONDS):
        for _, own in by_partition(records):
            yield from (x for x in parse_dead_letters(own) if x in selection)


def check_partition(topic: str, partition: int, partitions: int) -> None:
    """Refuse a partition that the topic does not have.

    Raises:
        UsageError: always then; the message has the partitions there are.
    """
    if partition >= partitions:
        raise UsageError(
            f"{topic} has no partition {partition}: its partitions are 0 to {partitions - 1}"
        )


def find_dead_letter(settings: GroupSettings, partition: int, offset: int) -> DeadLetter | None:
    """The dead letter at these coordinates; None if it does not exist.

    Raises:
        UsageError, RetryableError: as :func:`read_dead_letters`.
    """
    topic = settings.dlq_topic
    group = settings.kafka_group_id + READER_GROUP
    partitions = require_topics(settings, [topic])[topic]
    span = committed_spans(settings, group, topic, partitions).get(partition)
    if span is None or not span.low <= offset < span.high:
        return None
    wanted = {partition: Span(offset, offset + 1)}
    for records in read_spans(settings, group, topic, wanted, STALL_SECONDS):
        return next(parse_dead_letters(Records(records)))
    return None


def _as_bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def parse_number(text: str | None) -> int | None:
    """The number in a header; None if it is not a number or has too many digits for Kafka."""
    return int(text) if text and text.isdecimal() and len(text) <= _MAX_DIGITS else None
