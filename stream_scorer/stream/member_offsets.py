"""The group's committed offsets, requested by a member's own client, and whether it gets answers.

The client asks the group's coordinator over the connection that also carries its membership. After
a broker was frozen and continued, librdkafka has kept a connection that never delivered another
response, while new clients got theirs at once. Such a client is no longer a member and does not
notice it. So its process ends: a new one joins the group, and reads from the committed offsets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, TopicPartition
from stream_scorer.kafka.errors import is_unanswered
from stream_scorer.kafka.retry import raise_partition_errors
from stream_scorer.stream.kafka_calls import TransactionCalls
from stream_scorer.stream.kafka_options import GroupOptions

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 30.0
"""A member without records asks this often, since it would not notice otherwise."""

_REBALANCE_MARGIN_SECONDS: Final = 5.0

_IDLE_REQUEST_SECONDS: Final = 2.0  # an answer takes milliseconds


class MemberOffsets:
    """Requests of one member to its group's coordinator. One thread owns it.

    Args:
        consumer: the member.
        options: its topic, and how long requests and rebalances may take.
        calls: makes the member's calls.
        ask_new_client: asks the coordinator with a new client.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        consumer: Consumer,
        options: GroupOptions,
        calls: TransactionCalls,
        ask_new_client: Callable[[Collection[int]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._topic = options.topic
        self._calls = calls
        self._request_seconds = options.txn_timeout_ms / 1000
        # A request waits behind the client's JoinGroup. A rebalance waits for a member that does
        # not poll, for as long as members are allowed not to poll.
        self._limit_seconds = options.max_poll_interval_ms / 1000 + _REBALANCE_MARGIN_SECONDS
        self._ask_new_client = ask_new_client
        self._clock = clock
        self._asked_at = clock()
        self._ignored_since: float | None = None
        self.is_stale = False
        """Whether the client will get no answer any more."""

    def fetch(
        self, partitions: Iterable[int], seconds: float | None = None
    ) -> list[TopicPartition]:
        """The committed offsets.

        Args:
            partitions: of the topic.
            seconds: the longest time for the request; None: the usual one.

        Raises:
            RetryableError: they cannot be read now.
            FatalError: only a new client can read them.
        """
        seconds = seconds or self._request_seconds
        places = [TopicPartition(self._topic, p) for p in partitions]
        self._asked_at = self._clock()
        try:
            found = self._calls.make(
                lambda: raise_partition_errors(self._consumer.committed(places, seconds))
            )
        except RetryableError as error:
            if is_unanswered(error):
                self._unanswered([place.partition for place in places], error)
            else:
                self.answered()
            raise
        self.answered()
        return found

    def answered(self) -> None:
        """The coordinator has answered the client; a rebalance shows it too."""
        self._ignored_since = None

    def serve_idle(self, partitions: Collection[int]) -> None:
        """Ask from time to time; call this when there were no records.

        Raises:
            FatalError: only a new client gets an answer.
        """
        if self._clock() - self._asked_at < IDLE_SECONDS:
            return
        try:
            # Every topic has a partition 0. Without an assignment, that is what is asked for.
            self.fetch([min(partitions, default=0)], _IDLE_REQUEST_SECONDS)
        except RetryableError as error:
            log.debug("the group's coordinator does not answer: %s", error)

    def _unanswered(self, partitions: Collection[int], error: RetryableError) -> None:
        """Compare with a new client: if it gets no answer either, this is an outage.

        Raises:
            FatalError: new clients have got answers for too long, and this one none.
        """
        try:
            self._ask_new_client(partitions)
        except RetryableError:
            self._ignored_since = None
            return
        now = self._clock()
        if self._ignored_since is None:
            self._ignored_since = now
            log.warning("the group's coordinator answers a new client, and not this member's")
        seconds = now - self._ignored_since
        if seconds > self._limit_seconds:
            self.is_stale = True
            raise FatalError(
                f"the group's coordinator has not answered this member's client for {seconds:.0f} "
                "s, although it answers new clients: a new process has to join the group"
            ) from error
