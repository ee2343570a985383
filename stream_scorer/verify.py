"""``stream-scorer verify``: audits the topics and proves that every input has one outcome."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from schemas.resolver import SchemaResolver
from stream_scorer.audit import Audit
from stream_scorer.audit_report import Report, print_report
from stream_scorer.console import require_topics, say_json
from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.findings import Kind, Span, Spans
from stream_scorer.outcome_reader import OutcomeReader, ScoreReader, by_partition, read_keys
from stream_scorer.runtime.kafka import (
    KafkaException,
    TopicPartition,
    open_consumer,
    translate,
)
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings
from stream_scorer.topic_reader import QUERY_SECONDS, committed_spans, read_spans, written_spans

OnRecords = Callable[[int], None]

STALL_SECONDS: Final = 60.0
"""Longer than a killed scorer's open txn can hold readers up (15 s and the broker's sweep)."""

_AUDIT_GROUP: Final = "-verify"  # added to the scorers' group id; it never joins or commits


def verify_topics(
    settings: GroupSettings,
    *,
    committed_only: bool = False,
    limit: int = 20,
    stall_seconds: float = STALL_SECONDS,
    on_records: OnRecords | None = None,
) -> Report:
    """Read input, scores and dead letters as committed, and judge.

    The input is taken to its last stable offset as of now. The outcomes are taken to the high
    watermark as of just after, so open txns are waited for: whatever was committed when this
    began has been seen when it ends.

    Args:
        settings: broker, topics, registry and group.
        committed_only: judge only inputs that the group has committed; use it while scorers run.
        limit: how many offenders are named.
        stall_seconds: give up when no record comes for so long.
        on_records: told how many records were read more.

    Raises:
        UsageError: no broker answers, a topic is missing, or the group committed nothing.
        RetryableError: the topics could not be read to their ends.
    """
    begun = time.monotonic()
    topics = (settings.input_topic, settings.output_topic, settings.dlq_topic)
    counts = require_topics(settings, topics)
    group = settings.kafka_group_id + _AUDIT_GROUP
    whole = committed_spans(settings, group, settings.input_topic, counts[settings.input_topic])
    committed = _committed_offsets(settings, whole)
    if committed_only and not committed:
        raise UsageError(
            f"the group {settings.kafka_group_id} has committed nothing of {settings.input_topic}, "
            "so there is nothing to judge; is KAFKA_GROUP_ID right?"
        )
    inputs = _up_to(whole, committed) if committed_only else whole
    ends = {
        Kind.SCORE: written_spans(settings, group, topics[1], counts[topics[1]]),
        Kind.DEAD_LETTER: written_spans(settings, group, topics[2], counts[topics[2]]),
    }
    audit = Audit(inputs, limit)
    reading = _Reading(settings, group, stall_seconds, on_records or (lambda _: None))
    times = reading.inputs(audit, inputs)
    with using_resolver(settings, "fraud_score") as resolver:
        for kind, topic in ((Kind.SCORE, topics[1]), (Kind.DEAD_LETTER, topics[2])):
            reading.outcomes(audit, kind, topic, ends[kind], resolver)
    now = committed_spans(settings, group, settings.input_topic, len(whole))
    verdict = audit.finish(now, ends)
    return Report(
        verdict=verdict,
        topics=dict(zip(("input", "scores", "dead_letters"), topics, strict=True)),
        uncommitted=_uncommitted(whole, committed),
        first_time=times[0],
        last_time=times[1],
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Feeds an audit from the topics."""

    settings: GroupSettings
    group: str
    stall_seconds: float
    on_records: OnRecords

    def inputs(self, audit: Audit, spans: Spans) -> tuple[int | None, int | None]:
        """All inputs; the first and last of their timestamps."""
        first: int | None = None
        last: int | None = None
        for records in self._batches(self.settings.input_topic, spans):
            for partition, own in by_partition(records):
                audit.add_inputs(partition, *read_keys(own))
            stamps = [message.timestamp()[1] for message in records]
            first = min(stamps) if first is None else min(first, *stamps)
            last = max(stamps) if last is None else max(last, *stamps)
        return first, last

    def outcomes(
        self, audit: Audit, kind: Kind, topic: str, spans: Spans, resolver: SchemaResolver
    ) -> None:
        """All outcomes of one kind."""
        reader = OutcomeReader(kind, self.settings.input_topic, ScoreReader(resolver))
        for records in self._batches(topic, spans):
            for partition, own in by_partition(records):
                outcomes, unreadable = reader.read(partition, own)
                audit.add_outcomes(outcomes)
                for where in unreadable:
                    audit.add_unreadable(kind, *where)

    def _batches(self, topic: str, spans: Spans) -> Any:
        for records in read_spans(self.settings, self.group, topic, spans, self.stall_seconds):
            self.on_records(len(records))
            yield records


def _committed_offsets(settings: GroupSettings, spans: Spans) -> dict[int, int]:
    """Where the scorers' group is; a partition it never committed is absent."""
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        found = consumer.committed(
            [TopicPartition(settings.input_topic, p) for p in spans], QUERY_SECONDS
        )
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()
    if failed := next((part.error for part in found if part.error), None):
        raise RetryableError(f"kafka: offsets of {settings.kafka_group_id}: {failed.str()}")
    return {part.partition: part.offset for part in found if part.offset >= 0}


def _up_to(spans: Spans, offsets: Mapping[int, int]) -> Spans:
    return {
        p: Span(span.low, min(span.high, max(span.low, offsets.get(p, span.low))))
        for p, span in spans.items()
    }


def _uncommitted(spans: Spans, offsets: Mapping[int, int]) -> int | None:
    """Offsets between the group's and the end: txn markers count too, so at most that many."""
    if not offsets:
        return None
    return sum(span.high - max(span.low, offsets.get(p, 0)) for p, span in spans.items())


def run_verify(args: argparse.Namespace) -> int:
    """``verify``: exit code 0 only when every input has exactly one outcome."""
    settings = load_settings(GroupSettings)
    with _progress(quiet=args.json) as on_records:
        report = verify_topics(
            settings,
            committed_only=args.committed,
            limit=args.limit_offenders,
            stall_seconds=args.timeout,
            on_records=on_records,
        )
    if args.json:
        say_json(report.as_json())
    else:
        print_report(report)
    return 0 if report.is_verified else 1


def _progress(*, quiet: bool) -> AbstractContextManager[OnRecords]:
    if quiet:
        return nullcontext(lambda _: None)
    from stream_scorer.progress import adding

    return adding("reading records")
