"""Stores the scorers' counts of rejections in the metadata of a consumer group.

The group ``<KAFKA_GROUP_ID>-rejections`` has no members and reads nothing. Its committed offsets
are always 0, and the metadata text of each partition holds the tally of its last owner.
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
from stream_scorer.kafka.kept import KeptConsumer
from stream_scorer.kafka.retry import fetch_committed, retry_transient
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.rejections.guard import RejectionTally

log = logging.getLogger(__name__)

GROUP_SUFFIX: Final = "-rejections"

_MARK: Final = "rejections:"
_QUERY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.001  # a poll does not return when a callback was called
_FORBIDDEN: Final = (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class KafkaRejectionLedger:
    """The ledger in Kafka. It connects on first use. One thread owns it."""

    def __init__(self, settings: KafkaSettings, group_id: str, topic: str) -> None:
        self._settings = settings
        self._group = group_id + GROUP_SUFFIX
        self._topic = topic
        self._kept = KeptConsumer(self._open)
        self._commits = _Commits()
        self._denial: KafkaError | None = None
        self._is_unauthorized = False

    def read(self, partitions: Iterable[int]) -> Mapping[int, RejectionTally]:
        """The stored tallies."""
        asked = [TopicPartition(self._topic, p) for p in sorted(partitions)]
        if not asked or self._is_unauthorized:
            return {}
        try:
            with self._kept.request() as consumer:
                found = fetch_committed(consumer, asked, _QUERY_SECONDS)
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
        if not offsets or self._is_unauthorized:
            return
        try:
            with self._kept.request() as consumer:
                retry_transient(
                    lambda: self._commit(consumer, offsets, _QUERY_SECONDS), _QUERY_SECONDS
                )
        except KafkaException as error:
            self._refused(error)

    def serve(self) -> None:
        """Serve the client's callbacks; call this regularly.

        During an outage an idle client queues up errors, about 100 MB an hour.
        """
        if self._kept.is_open:
            try:
                while (message := self._kept.client.poll(0)) is not None:
                    self._keep_denial(message)
            except KafkaException as error:
                log.debug("error from the ledger's client: %s", error)

    def close(self) -> None:
        """Close the connection, without waiting for long.

        If the broker owes an answer, the client takes minutes to close. If no broker answers, it
        may never close (librdkafka #3740).
        """
        self._kept.close()

    def _open(self) -> Consumer:
        self._commits = _Commits()  # of this client: an earlier one owes its answers for ever
        return open_consumer(self._settings, self._group, on_commit=self._commits.answered)

    def _commit(self, consumer: Consumer, offsets: list[TopicPartition], seconds: float) -> None:
        """Replace the group's offsets within ``seconds``.

        A consumer's synchronous commit has no timeout: it takes 46 s while no broker answers, and
        minutes while the connection stays open. An admin client has one, but librdkafka's may
        abort the process when the connection to the group's coordinator breaks (#4605).
        """
        deadline, commits = time.monotonic() + seconds, self._commits
        commits.failure = None
        consumer.commit(offsets=offsets, asynchronous=True)
        commits.pending += 1
        while commits.pending:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer in time"))
            self._keep_denial(consumer.poll(_POLL_SECONDS))
        if commits.failure is not None:
            raise KafkaException(commits.failure)
        self._denial = None

    def _keep_denial(self, message: Message | None) -> None:
        """Keep an authorization error; the consumer has no assignment and gets no records."""
        error = None if message is None else message.error()
        if error is not None and error.code() in _FORBIDDEN:
            self._denial = error

    def _refused(self, error: KafkaException) -> None:
        """Continue without the ledger if we are not authorized for its group.

        If we may not look up the group's coordinator, the request only times out, and the
        authorization error arrives separately. An outage is never mistaken for a missing
        authorization.
        """
        self.serve()
        denial = error.args[0] if error.args[0].code() in _FORBIDDEN else self._denial
        if denial is None:
            raise RetryableError(str(translate(error))) from error
        self._is_unauthorized = True
        log.warning(
            "not authorized for group %s: grant this user READ on it; until then the counts of "
            "rejected records are lost when the process ends (%s)",
            self._group,
            denial.str(),
        )


class _Commits:
    """The commits of one client that have no answer yet, and an error of the last one."""

    def __init__(self) -> None:
        self.pending = 0
        self.failure: KafkaError | None = None

    def answered(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """The answer to a commit; the client calls this from its ``poll``."""
        self.pending -= 1
        errors = [error, *(place.error for place in places)]
        self.failure = next((e for e in errors if e is not None), self.failure)


def format_tally(tally: RejectionTally) -> str:
    """A tally as metadata text."""
    return f"{_MARK}{tally.run},{tally.seen},{tally.bad},{tally.allowance}"


def parse_tally(metadata: str | None) -> RejectionTally | None:
    """The tally in a metadata text; None if there is none."""
    if not metadata or not metadata.startswith(_MARK):
        return None
    numbers = metadata.removeprefix(_MARK).split(",")
    if len(numbers) != 4 or not all(n.isascii() and n.isdecimal() for n in numbers):
        return None
    return RejectionTally(*map(int, numbers))
