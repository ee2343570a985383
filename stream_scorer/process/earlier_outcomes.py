"""Finds outcomes that already exist, by which lost offsets differ from a first start."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from schemas.records import UndecodableRecord, decode_record
from schemas.resolver import SchemaResolver
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import describe_topics, log_spans
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.messages import Records, by_partition
from stream_scorer.kafka.reader import read_spans
from stream_scorer.kafka.spans import Span
from stream_scorer.settings import GroupSettings

log = logging.getLogger(__name__)

_QUERY_SECONDS: Final = 5.0
_STALL_SECONDS: Final = 30.0
_SCORES: Final = 20_000  # offsets at the end of a partition; aborted records count too
_DEAD_LETTERS: Final = 200  # each can have megabytes


class EarlierOutcomes:
    """Reads the ends of the output and dead letter topics.

    Args:
        settings: names the topics and the group.
        resolver: finds the writer schemas of scores.
    """

    def __init__(self, settings: GroupSettings, resolver: SchemaResolver) -> None:
        self._settings = settings
        self._resolver = resolver

    def __call__(self, partitions: Collection[int]) -> frozenset[int]:
        """Those of ``partitions`` of the input that have outcomes.

        A topic that has records but that this user may not read counts as having some: an operator
        then decides.

        Raises:
            RetryableError, FatalError: the topics cannot be read now.
        """
        settings, found = self._settings, set[int]()
        for topic, count in ((settings.output_topic, _SCORES), (settings.dlq_topic, _DEAD_LETTERS)):
            left = [p for p in partitions if p not in found]
            spans = _ends(settings, topic, left, count)
            try:
                found |= self._with_outcomes(topic, spans)
            except FatalError as error:
                log.warning(
                    "topic %s has records, but cannot be read to see whether inputs of %s were "
                    "scored before: grant this user READ on it (%s)",
                    topic,
                    settings.input_topic,
                    error,
                )
                found |= spans.keys()
        return frozenset(found)

    def _with_outcomes(self, topic: str, spans: Mapping[int, Span]) -> set[int]:
        found: set[int] = set()
        if not spans:
            return found
        group = self._settings.kafka_group_id
        for batch in read_spans(self._settings, group, topic, spans, _STALL_SECONDS):
            for partition, records in by_partition(batch):
                if partition not in found and self._has_ours(topic, records):
                    found.add(partition)
            if found == spans.keys():
                break
        return found

    def _has_ours(self, topic: str, records: Records) -> bool:
        """Whether one of these outcomes is of a record of our input topic."""
        input_topic = self._settings.input_topic
        if topic == self._settings.dlq_topic:
            return any(error_headers(h).get("topic") == input_topic for h in records.headers)
        return any(map(self._is_ours, records.values))

    def _is_ours(self, value: bytes | None) -> bool:
        input_topic = self._settings.input_topic
        if value is None or input_topic.encode() not in value:  # cheap, and most often the answer
            return False
        try:
            score = decode_record("fraud_score", value, self._resolver)
        except UndecodableRecord:
            return False
        return bool(score["source"]["topic"] == input_topic)


def _ends(
    settings: GroupSettings, topic: str, partitions: Collection[int], count: int
) -> dict[int, Span]:
    """The last offsets of those partitions of a topic that have records."""
    admin = open_admin(settings)
    summary = describe_topics(admin, [topic], _QUERY_SECONDS).get(topic)
    there = [p for p in partitions if summary is not None and p < summary.partitions]
    spans = log_spans(admin, topic, there, _QUERY_SECONDS) if there else {}
    return {
        p: Span(max(span.low, span.high - count), span.high)
        for p, span in spans.items()
        if span.high > span.low
    }
