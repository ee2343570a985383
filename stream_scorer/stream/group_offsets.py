"""Where a group starts to read: its committed offsets, checked against the topic and its log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import TopicSummary, describe_topics, log_spans
from stream_scorer.kafka.clients import open_admin, open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaException, TopicPartition
from stream_scorer.kafka.errors import is_non_retriable, translate
from stream_scorer.kafka.mark import TOPIC_ID, format_mark
from stream_scorer.kafka.retry import fetch_committed, raise_partition_errors
from stream_scorer.kafka.spans import Span
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.offset_check import (
    FROM_START,
    Committed,
    Fault,
    Unusable,
    explain,
    find_unusable,
    recreated_text,
)

log = logging.getLogger(__name__)

_QUERY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where to read a partition, and the records before it that were removed unread."""

    offset: int
    lost: Span | None = None


class GroupOffsets:
    """The group's committed offsets of the input topic.

    Clients are opened for each request: there is one at the start, and then hardly any.

    Args:
        settings: how to connect to the broker.
        group: the scorers' group.
        topic: the input topic.
        topic_id: the id of the topic when the process started; None: not compared.
        with_outcomes: those of the given partitions for whose inputs outcomes exist already.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topic: str,
        topic_id: str | None = None,
        with_outcomes: Callable[[Collection[int]], Collection[int]] = lambda _: (),
    ) -> None:
        self._settings = settings
        self._group = group
        self._topic = topic
        self._topic_id = topic_id
        self._with_outcomes = with_outcomes

    def find_unusable(self, partitions: Iterable[int]) -> list[Unusable]:
        """The partitions at whose committed offset the group must not continue.

        Raises:
            RetryableError, FatalError: a request failed.
        """
        consumer = open_consumer(self._settings, self._group)
        try:
            committed = self._committed(consumer, partitions)
            spans = log_spans(open_admin(self._settings), self._topic, committed, _QUERY_SECONDS)
            bare = [p for p, place in committed.items() if place.offset is None]
            outcomes = self._with_outcomes(bare) if bare else ()
            if outcomes:
                # Another member may have committed the first offsets and outcomes in between.
                committed |= self._committed(consumer, bare)
            return find_unusable(committed, spans, self._topic_id, outcomes)
        finally:
            consumer.close()

    def lag(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """By partition, the offsets from the committed one to the end; None: nothing committed.

        Raises:
            RetryableError, FatalError: a request failed.
        """
        consumer = open_consumer(self._settings, self._group)
        try:
            committed = self._committed(consumer, partitions)
        finally:
            consumer.close()
        spans = log_spans(open_admin(self._settings), self._topic, committed, _QUERY_SECONDS)
        return {
            p: None if place.offset is None else max(0, spans[p].high - place.offset)
            for p, place in committed.items()
        }

    def require_usable(self, partitions: Iterable[int]) -> None:
        """Check the committed offsets of all partitions.

        Raises:
            FatalError: an operator has to decide where to continue; the message says how.
            RetryableError: a request failed.
        """
        if unusable := self.find_unusable(partitions):
            raise FatalError(explain(self._group, self._topic, self._topic_id, unusable))

    def start_over(self, partitions: Iterable[int]) -> None:
        """Commit the start of the log where the group's offset is unusable; keep all others.

        Raises:
            RetryableError: the group has members, or a request failed.
        """
        unusable = self.find_unusable(partitions)
        if not unusable:
            return
        mark = format_mark({TOPIC_ID: self._topic_id or ""})
        places = [TopicPartition(self._topic, u.partition, u.span.low, mark) for u in unusable]
        consumer = open_consumer(self._settings, self._group)
        try:
            raise_partition_errors(consumer.commit(offsets=places, asynchronous=False) or [])
        except KafkaException as error:
            failure = translate(error)
            raise type(failure)(
                f"cannot reset the offsets of group {self._group}: {failure}. They can be reset "
                "only while the group has no members: stop its other scorers"
            ) from error
        finally:
            consumer.close()
        log.warning(
            "starting over: everything that topic %s still holds in these partitions will be "
            "scored (--from-start): %s",
            self._topic,
            explain(self._group, self._topic, self._topic_id, unusable).removesuffix(FROM_START),
            extra={"partitions": [u.partition for u in unusable]},
        )

    def resolve(self, partition: int, offset: int | None, otherwise: int | None = None) -> Start:
        """Where to read a partition whose next record the broker does not have.

        Args:
            partition: the partition.
            offset: the offset that is not available; None if nothing is committed.
            otherwise: where to begin if nothing is committed; None: at the start of the log.

        Raises:
            FatalError: an operator has to decide.
            RetryableError: a request failed.
        """
        admin = open_admin(self._settings)
        self.require_same_topic(describe_topics(admin, [self._topic], _QUERY_SECONDS))
        span = log_spans(admin, self._topic, [partition], _QUERY_SECONDS)[partition]
        if offset is None:
            outcomes = self._with_outcomes([partition])
            place = Committed(None)
            self._refuse(find_unusable({partition: place}, {partition: span}, None, outcomes))
            offset = span.low if otherwise is None else otherwise
            if offset > span.high:
                raise FatalError(
                    f"{self._topic} partition {partition} has to be read from offset {offset}, but "
                    f"its log ends at {span.high}: the topic was truncated or restored. "
                    f"{FROM_START}"
                )
        place = Committed(offset)
        self._refuse(find_unusable({partition: place}, {partition: span}, None))
        if offset < span.low:
            return Start(span.low, Span(offset, span.low))
        return Start(offset)

    def committed(self, partitions: Iterable[int]) -> dict[int, Committed]:
        """The group's committed offsets and marks; any thread may call this.

        Raises:
            FatalError: an offset belongs to a topic of the same name that was deleted.
            RetryableError: a request failed, or a transaction is open that has sent offsets.
        """
        consumer = open_consumer(self._settings, self._group)
        try:
            found = self._committed(consumer, partitions)
        finally:
            consumer.close()
        self.require_same_marks(found)
        return found

    def require_same_marks(self, committed: Mapping[int, Committed]) -> None:
        """Check that committed offsets belong to the topic as it was when this process started.

        Raises:
            FatalError: an offset belongs to a topic of the same name with another id.
        """
        spans = {p: Span(0, place.offset or 0) for p, place in committed.items()}
        unusable = find_unusable(committed, spans, self._topic_id)
        self._refuse([u for u in unusable if u.fault is Fault.RECREATED])

    def require_same_topic(self, found: Mapping[str, TopicSummary]) -> None:
        """Check that the topic has the id that it had when this process started.

        Args:
            found: the topics that exist, with their summary.

        Raises:
            FatalError: it was recreated.
        """
        now = found[self._topic].topic_id if self._topic in found else None
        if self._topic_id is not None and now is not None and now != self._topic_id:
            text = recreated_text(self._topic, self._topic_id, now, "this process")
            raise FatalError(f"{text}. {FROM_START}")

    def _refuse(self, unusable: list[Unusable]) -> None:
        if unusable:
            raise FatalError(explain(self._group, self._topic, self._topic_id, unusable))

    def _committed(self, consumer: Consumer, partitions: Iterable[int]) -> dict[int, Committed]:
        places = [TopicPartition(self._topic, p) for p in partitions]
        try:
            found = fetch_committed(consumer, places, _QUERY_SECONDS)
        except KafkaException as error:
            cause = _denial(consumer) or error
            raise translate(cause) from error
        return {place.partition: as_committed(place) for place in found}


def _denial(consumer: Consumer) -> KafkaException | None:
    """The reason that only an operator can fix, if there is one.

    If this user may not look up the group's coordinator, the request only times out, and the
    reason arrives as a message.
    """
    while (message := consumer.poll(0)) is not None:  # nothing is assigned: there are no records
        if (error := message.error()) is not None and is_non_retriable(error):
            return KafkaException(error)
    return None


def as_committed(place: TopicPartition) -> Committed:
    """The driver's committed offset of one partition as a value."""
    return Committed(place.offset if place.offset >= 0 else None, place.metadata)
