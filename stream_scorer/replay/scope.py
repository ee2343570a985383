"""The inputs of a replay, and where their scores and dead letters are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from stream_scorer.errors import UsageError
from stream_scorer.kafka.reader import committed_spans, time_offsets, written_spans
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.settings import GroupSettings

READER_GROUP: Final = "-replay"  # added to the scorers' group id; it never joins or commits

_SKEW_MS: Final = 3_600_000
"""A scorer's clock may be behind the producers' by this much. Kafka accepts no later timestamp
(``message.timestamp.after.max.ms``)."""


@dataclass(frozen=True, slots=True)
class ReplayScope:
    """What to read.

    Attributes:
        settings: broker, topics, registry and group.
        group: the reader's group id; it never joins a group or commits.
        inputs: the inputs of the range.
        scores: the published scores that can belong to them; empty if they are not needed.
        dead_letters: the dead letters that can belong to them.
    """

    settings: GroupSettings
    group: str
    inputs: Spans
    scores: Spans
    dead_letters: Spans

    @property
    def total(self) -> int:
        """The most inputs that there can be."""
        return sum(span.high - span.low for span in self.inputs.values())


def open_scope(
    settings: GroupSettings, since: int, until: int | None, *, with_scores: bool
) -> ReplayScope:
    """Ask the broker where the range is.

    Args:
        settings: broker, topics, registry and group.
        since: inputs from this time on, epoch milliseconds.
        until: inputs before this time, epoch milliseconds; None: all.
        with_scores: the published scores are needed.

    Raises:
        UsageError: no broker answers, a topic is missing, the range is empty, or there is no score
            from its beginning on.
        RetryableError, FatalError: the broker refuses or fails.
    """
    if until is not None and until <= since:
        raise UsageError(
            f"--until {_shown(until)} is not after --since {_shown(since)}: the range is empty"
        )
    group = settings.kafka_group_id + READER_GROUP
    topics = [settings.input_topic, settings.dlq_topic]
    counts = require_topics(settings, [*topics, *([settings.output_topic] if with_scores else [])])
    stored = committed_spans(settings, group, topics[0], counts[topics[0]])
    begin = time_offsets(settings, group, topics[0], stored, since)
    end = {p: span.high for p, span in stored.items()}
    if until is not None:
        end = time_offsets(settings, group, topics[0], stored, until)
    inputs = {p: Span(begin[p], end[p]) for p in stored if begin[p] < end[p]}
    if not inputs:
        held = sum(span.high - span.low for span in stored.values())
        when = f"from {_shown(since)}" + (f" to {_shown(until)}" if until is not None else " on")
        raise UsageError(
            f"topic {topics[0]} has no input {when} ({held:,} offsets are outside): check --since "
            "and --until, and that the producers set record times in milliseconds"
        )

    def later(topic: str) -> Spans:
        spans = written_spans(settings, group, topic, counts[topic])
        first = time_offsets(settings, group, topic, spans, max(0, since - _SKEW_MS))
        found = {p: Span(first[p], span.high) for p, span in spans.items() if p in inputs}
        return {p: span for p, span in found.items() if span.low < span.high}

    scores = later(settings.output_topic) if with_scores else {}
    if with_scores and not scores:
        raise UsageError(no_scores(settings))
    return ReplayScope(settings, group, inputs, scores, later(settings.dlq_topic))


def no_scores(settings: GroupSettings) -> str:
    """What to do where the inputs have no published score."""
    return (
        f"topic {settings.output_topic} has no score of an input of the range: compare with "
        "another version (--against vN), or check that OUTPUT_TOPIC is the scorers'"
    )


def _shown(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
