"""Requests of an admin client: topics, their ids and their configuration."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition

# The names are documented, though the module does not list them as its exports.
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import Admin
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.spans import Span

_T = TypeVar("_T")

_FIRST_TIMEOUT_SECONDS: Final = 1.0
_RESULT_MARGIN_SECONDS: Final = 1.0  # the client's own timeout comes first: it has a reason


_NO_ID: Final = "A" * 22  # zero, from brokers before 2.8, which have no topic ids


class TopicSummary(NamedTuple):
    """A topic's id (None: the broker has no topic ids) and its number of partitions."""

    topic_id: str | None
    partitions: int


def explain(error: KafkaException, admin: AdminClient) -> RetryableError | FatalError:
    """Our error for a failed request: if the client could not connect, the reason for that."""
    admin.poll(0)  # nothing else calls an admin client's error_cb
    if isinstance(admin, Admin) and admin.error_callback.last is not None:
        return translate(KafkaException(admin.error_callback.last))
    return translate(error)


def wait_for(future: Future[_T], timeout: float) -> _T:
    """The result of an admin request whose own timeout is ``timeout`` seconds.

    Raises:
        KafkaException: the request failed, or no response arrived in time.
    """
    try:
        return future.result(timeout + _RESULT_MARGIN_SECONDS)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no response in time")) from error


def topic_partitions(admin: AdminClient, topics: Sequence[str], timeout: float) -> dict[str, int]:
    """Partition counts of those of ``topics`` that exist.

    A topic that this user is not authorized for seems not to exist: see
    :mod:`stream_scorer.kafka.rights`.

    Raises:
        RetryableError: no broker answered within ``timeout`` seconds.
        FatalError: login or TLS handshake failed; the message has the reason and the setting to
            check.
    """
    metadata = _fetch_metadata(admin, timeout)
    return {
        name: len(metadata.topics[name].partitions)
        for name in topics
        if name in metadata.topics and metadata.topics[name].error is None
    }


def topic_ids(
    admin: AdminClient, topics: Sequence[str], timeout: float = 10.0
) -> tuple[str, dict[str, str]]:
    """The ids of the cluster and of topics; a recreated topic has another id.

    Raises:
        RetryableError, FatalError: the request failed, or a topic is missing.
    """
    try:
        cluster = str(admin.list_topics(timeout=timeout).cluster_id or "")
        futures = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout)
        return cluster, {n: str(wait_for(f, timeout).topic_id) for n, f in futures.items()}
    except KafkaException as error:
        raise translate(error) from error


def describe_topics(
    admin: AdminClient, topics: Sequence[str], timeout: float
) -> dict[str, TopicSummary]:
    """Those of ``topics`` that exist.

    Raises:
        RetryableError, FatalError: the request failed.
    """
    found = {}
    futures = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout)
    for name, future in futures.items():
        try:
            topic = wait_for(future, timeout)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise explain(error, admin) from error
        topic_id = str(topic.topic_id)
        found[name] = TopicSummary(None if topic_id == _NO_ID else topic_id, len(topic.partitions))
    return found


def log_spans(
    admin: AdminClient, topic: str, partitions: Iterable[int], timeout: float
) -> dict[int, Span]:
    """By partition, the first offset of the log and its end, which includes open transactions.

    Raises:
        RetryableError, FatalError: the request failed.
    """
    places = [TopicPartition(topic, p) for p in partitions]
    bounds: list[dict[int, int]] = []
    specs = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    for spec in specs:
        futures = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=timeout)
        try:
            bounds.append({p.partition: wait_for(f, timeout).offset for p, f in futures.items()})
        except KafkaException as error:
            raise explain(error, admin) from error
    low, high = bounds
    return {p: Span(low[p], high[p]) for p in low}


def _fetch_metadata(admin: AdminClient, timeout: float) -> ClusterMetadata:
    """Request with growing timeouts, so that a wrong password is reported without delay."""
    deadline, attempt_seconds = time.monotonic() + timeout, _FIRST_TIMEOUT_SECONDS
    while True:
        try:
            left = max(0.1, deadline - time.monotonic())
            found = admin.list_topics(timeout=min(attempt_seconds, left))
        except KafkaException as error:
            failure = explain(error, admin)
            if isinstance(failure, FatalError) or time.monotonic() > deadline:
                raise failure from error
            attempt_seconds *= 2
        else:
            if isinstance(admin, Admin):
                admin.error_callback.last = None
            return found


def create_topics(
    admin: AdminClient,
    topics: Mapping[str, Mapping[str, str]],
    partitions: int,
    replication_factor: int,
    timeout: float = 30.0,
) -> dict[str, bool]:
    """Create topics (name → configuration); True for each topic that did not exist before.

    Raises:
        RetryableError, FatalError: the request failed, or a topic does not appear in time.
    """
    new = [
        NewTopic(name, num_partitions=partitions, replication_factor=replication_factor,
                 config=dict(config))
        for name, config in topics.items()
    ]  # fmt: skip
    created: dict[str, bool] = {}
    for name, future in admin.create_topics(new, request_timeout=timeout).items():
        try:
            wait_for(future, timeout)
            created[name] = True
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(error) from error
            created[name] = False
    deadline = time.monotonic() + timeout
    while len(topic_partitions(admin, list(topics), timeout)) < len(topics):
        if time.monotonic() > deadline:
            raise RetryableError("topics were created but do not appear in the metadata")
        time.sleep(0.05)
    return created


def extend_topics(
    admin: AdminClient, topics: Sequence[str], partitions: int, timeout: float = 30.0
) -> None:
    """Increase the number of partitions of topics to ``partitions``.

    Raises:
        RetryableError, FatalError: the request failed, or the partitions do not appear in time.
    """
    new = [NewPartitions(name, partitions) for name in topics]
    for future in admin.create_partitions(new, request_timeout=timeout).values():
        try:
            wait_for(future, timeout)
        except KafkaException as error:
            raise translate(error) from error
    deadline = time.monotonic() + timeout
    while min(topic_partitions(admin, topics, timeout).values()) < partitions:
        if time.monotonic() > deadline:
            raise RetryableError("partitions were added but do not appear in the metadata")
        time.sleep(0.05)


def topic_config(admin: AdminClient, topic: str, timeout: float = 10.0) -> dict[str, str]:
    """The configuration of one topic."""
    try:
        return _config(admin, ConfigResource(ResourceType.TOPIC, topic), timeout)
    except KafkaException as error:
        raise translate(error) from error


def broker_configs(admin: AdminClient, timeout: float = 10.0) -> list[dict[str, str]]:
    """The configuration of each running broker.

    Raises:
        RetryableError, FatalError: no broker answered, or this user is not authorized.
    """
    try:
        brokers = admin.list_topics(timeout=timeout).brokers
        return [_config(admin, ConfigResource(ResourceType.BROKER, str(b)), timeout)
                for b in brokers]  # fmt: skip
    except KafkaException as error:
        raise translate(error) from error


def _config(admin: AdminClient, resource: ConfigResource, timeout: float) -> dict[str, str]:
    futures = admin.describe_configs([resource], request_timeout=timeout)
    entries = wait_for(futures[resource], timeout)
    return {name: str(entry.value) for name, entry in entries.items()}
