"""Sends dead letters back to the input topic, each at most once.

The redriven record and the progress are committed in one Kafka transaction: the record on the input
topic, and the progress as an offset commit of the group ``<KAFKA_GROUP_ID>-redrive``. The group has
no members, so its metadata fences nothing; the fence is the transactional id of the same name. A
redrive reads the progress only after ``init_transactions``, which aborts the open txn of an earlier
redrive and makes all later calls of that redrive fail.

Kafka deletes committed offsets after a while, so each run commits the progress of every partition
again. For a partition without progress, only dead letters are redriven that are too recent to have
been redriven before the progress was deleted
(:mod:`stream_scorer.dead_letters.redrive_retention`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from stream_scorer.dead_letters.dead_letter import (
    READER_GROUP,
    STALL_SECONDS,
    DeadLetter,
    DeadLetterFilter,
    check_partition,
    parse_dead_letters,
    parse_number,
)
from stream_scorer.dead_letters.redrive_headers import redriven_headers
from stream_scorer.dead_letters.redrive_plan import Planner, Redriven, RedrivePlan
from stream_scorer.dead_letters.redrive_progress import RedriveProgress, parse_progress
from stream_scorer.dead_letters.redrive_retention import fetch_retention_ms, known_since
from stream_scorer.errors import FatalError, RetryableError, UsageError
from stream_scorer.kafka.admin import topic_config
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.kafka.driver import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from stream_scorer.kafka.errors import driver_error, translate
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import QUERY_SECONDS, committed_spans, read_spans
from stream_scorer.kafka.retry import fetch_committed
from stream_scorer.kafka.sizes import INPUT_MAX_BYTES
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.settings import GroupSettings

GROUP_SUFFIX: Final = "-redrive"
TXN_SECONDS: Final = 30.0  # timeout of one transactional call
_TXN_RECORDS: Final = 500  # small enough that a txn ends well within its timeout
_BY_KEY: Final = -1  # librdkafka's value for "the partitioner decides"
_FENCED: Final = (
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)


def redrive(
    settings: GroupSettings,
    selection: DeadLetterFilter,
    *,
    dry_run: bool = False,
    again: bool = False,
) -> Redriven:
    """Redrive the selected dead letters that exist now and have not been redriven yet.

    A redrive can be interrupted or killed at any time and run again.

    Args:
        settings: broker, topics and group.
        selection: the dead letters to redrive.
        dry_run: report what would be redriven, without redriving it.
        again: also redrive dead letters that are too old to know whether they were redriven before.

    Raises:
        UsageError: no broker answers, a topic is missing, or the filter leaves out too many.
        RetryableError: a transient error of Kafka; the last txn had no effect.
        FatalError: another redrive took over.
    """
    topics = (settings.input_topic, settings.dlq_topic)
    counts = require_topics(settings, topics)
    group = settings.kafka_group_id + GROUP_SUFFIX
    limit = topic_config(open_admin(settings), settings.input_topic).get("max.message.bytes")
    dlq, partitions = settings.dlq_topic, counts[settings.dlq_topic]
    if selection.partition is not None:
        check_partition(dlq, selection.partition, partitions)
    sender = None if dry_run else _Sender(settings, counts[settings.input_topic])
    consumer = open_consumer(settings, group)
    try:
        progress = _load_progress(settings, consumer, dlq, partitions)
        spans = _unread(settings, progress, partitions)
        if sender is not None:
            sender.renew(progress, consumer)
        planner = Planner(selection, progress, int(limit or INPUT_MAX_BYTES), again=again)
        for dead_letters in _read(settings, spans):
            plan = planner.plan(dead_letters)
            if sender is not None and plan.has_changes:
                sender.commit(plan, consumer)
        return planner.tally.result()
    except (KafkaException, SystemError) as error:
        cause = driver_error(error)
        raise _translate(cause) from cause
    finally:
        consumer.close()


class _Sender:
    """Sends plans, each in one txn together with its progress."""

    def __init__(self, settings: GroupSettings, input_partitions: int) -> None:
        self._input = settings.input_topic
        self._partitions = input_partitions
        self._dlq = settings.dlq_topic
        self._failures: list[KafkaError] = []
        self._producer: Producer = open_producer(
            settings, **{"transactional.id": settings.kafka_group_id + GROUP_SUFFIX}
        )
        try:
            self._producer.init_transactions(TXN_SECONDS)
        except KafkaException as error:
            raise _translate(error) from error

    def renew(self, progress: Mapping[int, RedriveProgress], consumer: Consumer) -> None:
        """Commit the unchanged progress of every partition, so that Kafka keeps it longer."""
        self._commit((), progress, consumer)

    def commit(self, plan: RedrivePlan, consumer: Consumer) -> None:
        """Commit records and progress in one txn: both or neither."""
        self._commit(plan.dead_letters, {plan.partition: plan.progress}, consumer)

    def _commit(
        self,
        dead_letters: Iterable[DeadLetter],
        progress: Mapping[int, RedriveProgress],
        consumer: Consumer,
    ) -> None:
        # Before anything is sent: this raises if there are too many gaps to store.
        offsets = [
            TopicPartition(self._dlq, partition, own.position, own.metadata())
            for partition, own in progress.items()
        ]
        self._producer.begin_transaction()
        try:
            for dead_letter in dead_letters:
                self._send(dead_letter)
            self._producer.flush(TXN_SECONDS)
            if self._failures:
                raise KafkaException(self._failures[0])
            self._producer.send_offsets_to_transaction(
                offsets, consumer.consumer_group_metadata(), TXN_SECONDS
            )
            self._producer.commit_transaction(TXN_SECONDS)
        except BaseException:
            self._abort()
            raise

    def _send(self, dead_letter: DeadLetter) -> None:
        headers = redriven_headers(dead_letter, self._dlq, self._input)
        while True:
            try:
                self._producer.produce(
                    self._input,
                    dead_letter.value,
                    dead_letter.key,
                    partition=self._partition(dead_letter),
                    headers=headers,
                    on_delivery=self._on_delivery,
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _partition(self, dead_letter: DeadLetter) -> int:
        """The partition of the input, where the card's other records are; else by key."""
        errors = dead_letter.errors
        partition = parse_number(errors.get("partition"))
        if partition is None or errors.get("topic") != self._input:
            return _BY_KEY
        return partition if partition < self._partitions else _BY_KEY

    def _on_delivery(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failures.append(error)

    def _abort(self) -> None:
        try:
            # Without the flush an early abort can be fatal (librdkafka issue 4849).
            self._producer.flush(TXN_SECONDS)
            self._producer.abort_transaction(TXN_SECONDS)
        except (KafkaException, SystemError) as error:
            driver_error(error)  # the first error is raised; the broker aborts the txn


def _translate(error: KafkaException) -> RetryableError | FatalError:
    cause = error.args[0]
    if isinstance(cause, KafkaError) and cause.code() in _FENCED:
        return FatalError(
            "another redrive took over: it continues after what this one has committed"
        )
    failure = translate(error)
    return type(failure)(f"{failure}; the progress is stored: the command can be run again")


def _load_progress(
    settings: GroupSettings, consumer: Consumer, topic: str, partitions: int
) -> dict[int, RedriveProgress]:
    wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
    found = fetch_committed(consumer, wanted, QUERY_SECONDS)
    progress = {part.partition: parse_progress(part.offset, part.metadata) for part in found}
    if unknown := [part.partition for part in found if part.offset < 0]:
        since = known_since(int(time.time() * 1000), fetch_retention_ms(settings))
        progress |= dict.fromkeys(unknown, RedriveProgress(known_since=since))
    return progress


def _unread(
    settings: GroupSettings, progress: Mapping[int, RedriveProgress], partitions: int
) -> Spans:
    """For each partition of dead letters, the span from the position of its progress to its end."""
    topic, group = settings.dlq_topic, settings.kafka_group_id + READER_GROUP
    stored: Spans = committed_spans(settings, group, topic, partitions)
    for partition, span in stored.items():
        if progress[partition].position > span.high:
            raise UsageError(
                f"the redrive progress in {topic} partition {partition} is beyond the end of the "
                "partition: the topic was recreated; delete the group "
                f"{settings.kafka_group_id}{GROUP_SUFFIX} to redrive its dead letters"
            )
    return {p: Span(max(span.low, progress[p].position), span.high) for p, span in stored.items()}


def _read(settings: GroupSettings, spans: Spans) -> Iterator[list[DeadLetter]]:
    """Dead letters in lists of one partition each, at most one txn long."""
    topic, group = settings.dlq_topic, settings.kafka_group_id + READER_GROUP
    for records in read_spans(settings, group, topic, spans, STALL_SECONDS):
        for _, own in by_partition(records):
            yield from _chunks(parse_dead_letters(own))


def _chunks(dead_letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    rest = iter(dead_letters)
    while chunk := list(itertools.islice(rest, _TXN_RECORDS)):
        yield chunk
