"""Sends dead letters back to the input, each at most once.

A redriven dead letter and the note that it was are committed in one Kafka transaction: the record
on the input topic, and the progress as an offset commit of the group
``<KAFKA_GROUP_ID>-redrive``. Nobody joins that group, so its metadata fences nothing; the fence is
the transactional id of the same name. A redrive reads the progress only after
``init_transactions``, which ends an earlier one's open txn and makes all its later calls fail.

Kafka forgets committed offsets after a while: each run commits the progress of every partition
again, and where there is none, only dead letters are redriven that are too young to have been
redriven before it was forgotten (:mod:`stream_scorer.dead_letters.redrive_retention`).
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
    Header,
    parse_dead_letter,
    parse_number,
)
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
ORIGIN_HEADERS: Final = "redrive."
"""``redrive.topic``, ``.partition``, ``.offset``: the dead letter a redriven record was."""

TXN_SECONDS: Final = 30.0  # of one transactional call
_TXN_RECORDS: Final = 500  # small enough that one txn ends well inside its timeout
_BY_KEY: Final = -1  # librdkafka's word for "the partitioner decides"
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
    """Redrive the selected dead letters that are there now and have not been redriven yet.

    It can be interrupted or killed at any time and started again.

    Args:
        settings: where.
        selection: which.
        dry_run: do nothing, only tell.
        again: also those that are too old to tell whether they were redriven before.

    Raises:
        UsageError: no broker answers, a topic is missing, or a filter leaves out too many.
        RetryableError: Kafka refused for the moment; nothing of the last txn happened.
        FatalError: another redrive took over.
    """
    topics = (settings.input_topic, settings.dlq_topic)
    counts = require_topics(settings, topics)
    group = settings.kafka_group_id + GROUP_SUFFIX
    limit = topic_config(open_admin(settings), settings.input_topic).get("max.message.bytes")
    dlq, partitions = settings.dlq_topic, counts[settings.dlq_topic]
    sender = None if dry_run else _Sender(settings, counts[settings.input_topic])
    consumer = open_consumer(settings, group)
    try:
        progress = _load(settings, consumer, dlq, partitions)
        spans = _unread(settings, progress, partitions)
        if sender is not None:
            sender.renew(progress, consumer)
        planner = Planner(selection, progress, int(limit or INPUT_MAX_BYTES), again=again)
        for letters in _letters(settings, spans):
            plan = planner.plan(letters)
            if sender is not None and plan.has_news:
                sender.commit(plan, consumer)
        return planner.tally.result()
    except (KafkaException, SystemError) as error:
        cause = driver_error(error)
        raise _translate(cause) from cause
    finally:
        consumer.close()


class _Sender:
    """Sends plans, each in a txn of its own with the progress it makes."""

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
        """One txn: the progress of every partition as it is, so that Kafka keeps it for longer."""
        self._commit((), progress, consumer)

    def commit(self, plan: RedrivePlan, consumer: Consumer) -> None:
        """One txn: the records and the progress, or nothing."""
        self._commit(plan.letters, {plan.partition: plan.progress}, consumer)

    def _commit(
        self,
        letters: Iterable[DeadLetter],
        progress: Mapping[int, RedriveProgress],
        consumer: Consumer,
    ) -> None:
        # Before anything is sent: this refuses when there are too many holes to remember.
        offsets = [
            TopicPartition(self._dlq, partition, own.position, own.metadata())
            for partition, own in progress.items()
        ]
        self._producer.begin_transaction()
        try:
            for letter in letters:
                self._send(letter)
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

    def _send(self, letter: DeadLetter) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            *(h for h in letter.headers if not h[0].startswith(ORIGIN_HEADERS)),
            *_origin(self._dlq, letter),
        ]
        while True:
            try:
                self._producer.produce(
                    self._input,
                    letter.value,
                    letter.key,
                    partition=self._partition(letter),
                    headers=headers,
                    on_delivery=self._on_delivery,
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _partition(self, letter: DeadLetter) -> int:
        """The input's own partition, where its card's others are; else the key decides."""
        errors = letter.errors
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
            driver_error(error)  # what failed first is raised; the broker ends the txn


def _translate(error: KafkaException) -> RetryableError | FatalError:
    cause = error.args[0]
    if isinstance(cause, KafkaError) and cause.code() in _FENCED:
        return FatalError(
            "another redrive took over: what this one committed stands, and the other goes on "
            "from there"
        )
    failure = translate(error)
    return type(failure)(f"{failure}; what was redriven is recorded: it can be run again")


def _origin(dlq_topic: str, letter: DeadLetter) -> list[Header]:
    """Where the record was a dead letter; takes the place of an earlier redrive's."""
    return [
        (ORIGIN_HEADERS + "topic", dlq_topic.encode()),
        (ORIGIN_HEADERS + "partition", str(letter.partition).encode()),
        (ORIGIN_HEADERS + "offset", str(letter.offset).encode()),
    ]


def _load(
    settings: GroupSettings, consumer: Consumer, topic: str, partitions: int
) -> dict[int, RedriveProgress]:
    asked = [TopicPartition(topic, partition) for partition in range(partitions)]
    found = fetch_committed(consumer, asked, QUERY_SECONDS)
    progress = {part.partition: parse_progress(part.offset, part.metadata) for part in found}
    if unknown := [part.partition for part in found if part.offset < 0]:
        since = known_since(int(time.time() * 1000), fetch_retention_ms(settings))
        progress |= dict.fromkeys(unknown, RedriveProgress(known_since=since))
    return progress


def _unread(
    settings: GroupSettings, progress: Mapping[int, RedriveProgress], partitions: int
) -> Spans:
    """Of each partition of dead letters, from its progress' position to its end."""
    topic, group = settings.dlq_topic, settings.kafka_group_id + READER_GROUP
    whole: Spans = committed_spans(settings, group, topic, partitions)
    for partition, span in whole.items():
        if progress[partition].position > span.high:
            raise UsageError(
                f"the redrive's progress in {topic} partition {partition} is beyond its end: the "
                f"topic was made anew; delete the group {settings.kafka_group_id}{GROUP_SUFFIX} "
                "if its dead letters are to be redriven"
            )
    return {p: Span(max(span.low, progress[p].position), span.high) for p, span in whole.items()}


def _letters(settings: GroupSettings, spans: Spans) -> Iterator[list[DeadLetter]]:
    """Those of one partition, as many at a time as a txn takes."""
    topic, group = settings.dlq_topic, settings.kafka_group_id + READER_GROUP
    for records in read_spans(settings, group, topic, spans, STALL_SECONDS):
        for _, own in by_partition(records):
            yield from _chunks(map(parse_dead_letter, own))


def _chunks(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    rest = iter(letters)
    while some := list(itertools.islice(rest, _TXN_RECORDS)):
        yield some
