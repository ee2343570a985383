"""Consumers for requests that are kept, and replaced if they get no answer any more.

After a broker was frozen and continued, librdkafka can keep a connection that never delivers
another response, above all the one to a group's coordinator. A new client gets its responses at
once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from stream_scorer.errors import RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaException
from stream_scorer.kafka.errors import is_unanswered
from stream_scorer.runtime.stopping import close_within

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 600.0
"""In an outage each replacement waits twice as long as the one before: a client may take minutes to
close, and is abandoned meanwhile."""

_CLOSE_SECONDS: Final = 1.0


class KeptConsumer:
    """A consumer that joins no group, opened when it is first used. One thread owns it.

    Args:
        open_client: opens one.
        clock: monotonic seconds.
    """

    def __init__(
        self, open_client: Callable[[], Consumer], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_client = open_client
        self._clock = clock
        self._client: Consumer | None = None
        self._answered_at = clock()
        self._limit_seconds = FIRST_SECONDS

    @property
    def client(self) -> Consumer:
        """The consumer."""
        if self._client is None:
            self._client = self._open_client()
            self._answered_at = self._clock()
        return self._client

    @property
    def is_open(self) -> bool:
        """Whether there is one."""
        return self._client is not None

    @contextmanager
    def request(self) -> Iterator[Consumer]:
        """The consumer for a request; a request without an answer may be its last one."""
        client = self.client
        try:
            yield client
        except (KafkaException, RetryableError) as error:
            if is_unanswered(error):
                self._unanswered()
            else:
                self._answered()
            raise
        self._answered()

    def close(self) -> None:
        """Close the consumer, without waiting for long if the broker owes it an answer."""
        client, self._client = self._client, None
        if client is not None:
            close_within(_CLOSE_SECONDS, client.close, "consumer-close")

    def _answered(self) -> None:
        self._answered_at, self._limit_seconds = self._clock(), FIRST_SECONDS

    def _unanswered(self) -> None:
        if self._clock() - self._answered_at > self._limit_seconds:
            log.warning("replacing a client that got no answer for %.0f s", self._limit_seconds)
            self.close()
            self._limit_seconds = min(2 * self._limit_seconds, LONGEST_SECONDS)
