"""Where the scorers keep their counts of rejections beyond a process: a consumer group's metadata.

The group ``<KAFKA_GROUP_ID>-rejections`` has no members and reads nothing: the offsets committed
for it are always 0, and each partition's metadata text holds the tally of its last owner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Final

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.retry import fetch_committed, retry_transient
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.runtime.stopping import close_within
from stream_scorer.stream.rejection_guard import RejectionTally

log = logging.getLogger(__name__)

GROUP_SUFFIX: Final = "-rejections"

_MARK: Final = "rejections:"
_QUERY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.001  # a poll does not end when a callback was called
_CLOSE_SECONDS: Final = 1.0
_FORBIDDEN: Final = (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class KafkaRejectionLedger:
    """The ledger in Kafka. Connects when it is first used; one thread owns it."""

    def __init__(self, settings: KafkaSettings, group_id: str, topic: str) -> None:
        self._settings = settings
        self._group = group_id + GROUP_SUFFIX
        self._topic = topic
        self._consumer: Consumer | None = None
        self._unanswered = 0  # commits
        self._failure: KafkaError | None = None  # of the last commit
        self._denial: KafkaError | None = None
        self._is_forbidden = False

    def read(self, partitions: Iterable[int]) -> Mapping[int, RejectionTally]:
        """The tallies that are there."""
        asked = [TopicPartition(self._topic, p) for p in sorted(partitions)]
        if not asked or self._is_forbidden:
            return {}
        try:
            found = fetch_committed(self._open(), asked, _QUERY_SECONDS)
        except KafkaException as error:
            self._refused(error)
            return {}
        self._denial = None
        tallies = {part.partition: parse_tally(part.metadata) for part in found}
        return {p: tally for p, tally in tallies.items() if tally is not None}

    def write(self, partitions: Iterable[int], tally: RejectionTally) -> None:
        """Replace the tallies."""
        text = format_tally(tally)
        offsets = [TopicPartition(self._topic, p, 0, text) for p in sorted(partitions)]
        if not offsets or self._is_forbidden:
            return
        try:
            retry_transient(lambda: self._commit(offsets, _QUERY_SECONDS), _QUERY_SECONDS)
        except KafkaException as error:
            self._refused(error)

    def serve(self) -> None:
        """Take what the client has to tell; call it now and then.

        An idle client piles up what it meets in an outage, some 100 MB an hour.
        """
        if self._consumer is not None:
            try:
                while (message := self._consumer.poll(0)) is not None:
                    self._take(message)
            except KafkaException as error:
                log.debug("the ledger's client: %s", error)

    def close(self) -> None:
        """Let go of the connection.

        Not waited for long: where the broker owes an answer the client closes after minutes, where
        none answers at all maybe never (librdkafka #3740).
        """
        if self._consumer is not None:
            close_within(_CLOSE_SECONDS, self._consumer.close, "ledger-close")

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = open_consumer(self._settings, self._group, on_commit=self._on_commit)
        return self._consumer

    def _commit(self, offsets: list[TopicPartition], seconds: float) -> None:
        """Replace the group's offsets within so many seconds.

        A consumer that waits for its commit knows no limit: 46 s while nobody answers, and minutes
        where the connection stays. An admin client does, but librdkafka's may abort the process
        when the connection to the group's coordinator breaks (#4605).
        """
        consumer, deadline = self._open(), time.monotonic() + seconds
        self._failure = None
        consumer.commit(offsets=offsets, asynchronous=True)
        self._unanswered += 1
        while self._unanswered:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer in time"))
            self._take(consumer.poll(_POLL_SECONDS))
        if self._failure is not None:
            raise KafkaException(self._failure)
        self._denial = None

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """A commit's answer; called by the client, from its ``poll``."""
        self._unanswered -= 1
        errors = [error, *(place.error for place in places)]
        self._failure = next((e for e in errors if e is not None), self._failure)

    def _take(self, message: Message | None) -> None:
        """What is polled is no record, but may tell why nothing is answered."""
        error = None if message is None else message.error()
        if error is not None and error.code() in _FORBIDDEN:
            self._denial = error

    def _refused(self, error: KafkaException) -> None:
        """Without the right to the group we go on without it.

        Where the group's coordinator is denied us, the request only times out; that it is comes by
        itself. An outage is never taken for a missing right.
        """
        self.serve()
        denial = error.args[0] if error.args[0].code() in _FORBIDDEN else self._denial
        if denial is None:
            raise RetryableError(str(translate(error))) from error
        self._is_forbidden = True
        log.warning(
            "no right to the group %s: grant this user READ on it; until then the counts of "
            "rejections end with the process (%s)",
            self._group,
            denial.str(),
        )


def format_tally(tally: RejectionTally) -> str:
    """As metadata."""
    return f"{_MARK}{tally.run},{tally.seen},{tally.bad},{tally.allowance}"


def parse_tally(metadata: str | None) -> RejectionTally | None:
    """From metadata; None where there is none of ours."""
    if not metadata or not metadata.startswith(_MARK):
        return None
    numbers = metadata.removeprefix(_MARK).split(",")
    if len(numbers) != 4 or not all(n.isascii() and n.isdecimal() for n in numbers):
        return None
    return RejectionTally(*map(int, numbers))
