"""Produces scores and dead letters, and checks that they were acknowledged."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import build_client
from stream_scorer.kafka.driver import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from stream_scorer.kafka.errors import ErrorCallback, is_fenced, translate
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.runtime.stopping import close_within
from stream_scorer.stream.kafka_calls import TransactionCalls, serve_callbacks
from stream_scorer.stream.kafka_options import GroupOptions, txn_producer_config
from stream_scorer.stream.ports import NO_MARKS, Marks, Outgoing

log = logging.getLogger(__name__)

_INIT_SECONDS: Final = 30.0  # a coordinator that has just started first loads its log
_FULL_QUEUE_SECONDS: Final = 0.05
_ABORT_LIMIT_SECONDS: Final = 600.0
"""A longer outage ends the process: a new one waits for the broker before it joins the group."""
_CLOSE_SECONDS: Final = 1.0
_REBUILD_SECONDS: Final = 30.0
"""A new client that cannot register its id for this long may get no answer any more either."""


class OutcomeProducer:
    """A driver's producer. One thread uses it at a time.

    Args:
        settings: how to connect to the broker.
        options: transaction timeout and batch size.
        calls: makes the transaction calls of the group member.
        is_transactional: False only for comparisons: such a producer can duplicate records.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        options: GroupOptions,
        calls: TransactionCalls,
        *,
        is_transactional: bool = True,
    ) -> None:
        self._calls = calls
        self._timeout = options.txn_timeout_ms / 1000
        self._options = options
        self._usual_mark = options.mark({})
        self._failure: tuple[KafkaError, Message] | None = None
        self._is_transactional = is_transactional
        self._config = txn_producer_config(settings, options, self._on_delivery)
        if not is_transactional:
            del self._config["transactional.id"], self._config["transaction.timeout.ms"]
        self._errors: ErrorCallback = self._config["error_cb"]
        self._client = build_client(Producer, dict(self._config))
        self._begun_at = float("-inf")
        self._aborting_since: float | None = None  # until the abort is complete
        self._is_expired = False  # only a new client can end the transaction
        self._replaced_at: float | None = None  # until the new client has registered its id

    def connect(self, seconds: float = _INIT_SECONDS) -> None:
        """Register the transactional id, which fences any earlier producer with the same id.

        If that one left a transaction open, it is aborted first.
        """
        if self._is_transactional:
            self._calls.make(partial(self._client.init_transactions, seconds))

    def serve(self) -> None:
        """Serve the client's callbacks; an idle client queues up errors during an outage."""
        serve_callbacks(partial(self._client.poll, 0))

    def begin(self) -> None:
        """Begin a transaction, on a new client if this one has lost a connection.

        After a broker was away, ``send_offsets_to_transaction`` can hang for ever at a group
        coordinator that the client has cached (librdkafka #5456, #5511).

        Raises:
            RetryableError, FatalError: it has not begun.
        """
        self.serve()
        if self._is_transactional and self._errors.has_disconnected:
            self._replace_client()
        self._failure = None
        self._begun_at = time.monotonic()
        if self._is_transactional:
            self._calls.make(self._client.begin_transaction)

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Produce records and wait until all are acknowledged.

        Raises:
            RetryableError, FatalError: a record was not acknowledged.
        """
        with self._expiring():
            self._publish(records)

    def _publish(self, records: Sequence[Outgoing]) -> None:
        produce = self._client.produce
        for topic, partition, key, value, headers in records:
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers)
                    break
                except BufferError:
                    serve_callbacks(partial(self._client.poll, _FULL_QUEUE_SECONDS))
                except KafkaException as error:
                    raise _publish_error(error.args[0], topic, partition) from error
        if self._flush() > 0:
            raise RetryableError("kafka: not every record was acknowledged in time")
        if self._failure is not None:
            cause, message = self._failure
            raise _publish_error(
                cause, str(message.topic()), message.partition()
            ) from KafkaException(cause)

    def send_offsets(
        self, topic: str, offsets: Mapping[int, int], fence: Any, marks: Marks = NO_MARKS
    ) -> None:
        """Add the next offsets to read, and their marks, to the transaction.

        ``fence`` is the poll's group metadata.
        """
        texts = {p: self._options.mark(fields) for p, fields in marks.items()}
        places = [
            TopicPartition(topic, p, o, texts.get(p, self._usual_mark)) for p, o in offsets.items()
        ]
        with self._expiring():
            self._calls.make(
                lambda: self._client.send_offsets_to_transaction(places, fence, self._timeout)
            )

    def commit(self) -> None:
        """Commit the transaction."""
        self._calls.make(lambda: self._client.commit_transaction(self._timeout))

    def abort(self) -> None:
        """Abort the transaction. If no broker answers, :meth:`finish_abort` has to complete it.

        Raises:
            FatalError: this client cannot abort it.
        """
        self._aborting_since = time.monotonic()
        try:
            self.finish_abort()
        except RetryableError as error:
            log.warning("cannot abort yet, will be retried: %s", error)

    def finish_abort(self) -> None:
        """Complete an abort that was begun. Call this before records are polled again.

        A transaction that was open for longer than its timeout was aborted by the broker, which
        also fenced the client. A new client with the same id replaces it. Registering the id waits
        until the old transaction has ended, so that the committed offsets are final. That is also
        done if the client got no answer for as long: it may have cached a coordinator that will
        never answer it.

        Raises:
            RetryableError: it could not be completed yet.
            FatalError: this client cannot abort it.
        """
        if self._aborting_since is None:
            return
        try:
            if time.monotonic() - self._aborting_since > self._timeout:
                self._is_expired = self._is_transactional
            if not self._is_expired:
                with self._expiring():
                    self._flush()  # before an abort (librdkafka #4849)
                    self._calls.make(lambda: self._client.abort_transaction(self._timeout))
            if self._is_expired:
                self._replace_client()
        except RetryableError as error:
            # Also what _expiring has just raised: the next call replaces the client.
            if time.monotonic() - self._aborting_since > _ABORT_LIMIT_SECONDS:
                raise FatalError(f"cannot abort: {error}") from error
            raise
        self._aborting_since = None

    def close(self, seconds: float) -> None:
        """Flush, for at most ``seconds``."""
        serve_callbacks(partial(self._client.flush, seconds))

    @contextmanager
    def _expiring(self) -> Iterator[None]:
        """Turn a refusal because the transaction has timed out into one that can be retried.

        Any other process that takes this client's id over is a fault, and ends this one.
        """
        try:
            yield
        except FatalError as error:
            if not is_fenced(error) or time.monotonic() - self._begun_at < self._timeout:
                raise
            self._is_expired = True
            raise RetryableError(
                f"the broker aborted a transaction that was open for longer than {self._timeout:g}"
                f" s: {error}"
            ) from error

    def _replace_client(self) -> None:
        """Replace the client by one with the same id; repeat this until it succeeds."""
        now = time.monotonic()
        if self._replaced_at is None or now - self._replaced_at > _REBUILD_SECONDS:
            box = [self._client]
            self._client = build_client(Producer, dict(self._config))
            # Destroying a client can take long, and nothing depends on it.
            close_within(_CLOSE_SECONDS, box.clear, "producer-close")
            self._replaced_at = now
        self.connect(self._timeout)
        self.serve()
        self._is_expired = self._errors.has_disconnected = False
        self._replaced_at = None

    def _flush(self) -> int:
        """Wait for acknowledgements; the number of records that got none."""
        return serve_callbacks(partial(self._client.flush, self._timeout))

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = error, message


def _publish_error(
    error: KafkaError, topic: str, partition: int | None
) -> RetryableError | FatalError:
    """Why a record could not be written, and how to fix it.

    The topics' limits are read when the process starts. After one was lowered, only a new process
    can continue: it dead-letters records that no longer fit.
    """
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return FatalError(
            f"topic {topic} now accepts only smaller records than when this process started "
            "(max.message.bytes); restart the process to apply the new limit"
        )
    if error.code() == KafkaError._UNKNOWN_PARTITION:
        return RetryableError(  # until it has: the client renews its metadata regularly
            f"topic {topic} has no partition {partition}, but the input topic has: an outcome is "
            "written to the same partition number as its input (add the missing partitions with: "
            "stream-scorer topics create)"
        )
    failure = translate(KafkaException(error))
    return type(failure)(f"topic {topic}: {failure}")
