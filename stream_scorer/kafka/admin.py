"""What an admin client asks a broker for: topics, their ids and configuration."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection

# The names are documented, though the module does not list them as its exports.
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.clients import Admin
from stream_scorer.kafka.errors import translate

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_FIRST_PATIENCE_SECONDS: Final = 1.0
_ANSWER_MARGIN_SECONDS: Final = 1.0  # the client's own timeout comes first: it says what failed


def explain(error: KafkaException, admin: AdminClient) -> RetryableError | FatalError:
    """The same, by what kept the client from asking at all, if anything did."""
    admin.poll(0)  # nothing else calls an admin client's error_cb
    if isinstance(admin, Admin) and admin.errors.last is not None:
        return translate(KafkaException(admin.errors.last))
    return translate(error)


def answer(future: Future[_T], timeout: float) -> _T:
    """What an admin client's request came to, whose own timeout is ``timeout`` seconds.

    Raises:
        KafkaException: it failed, or there is no answer.
    """
    try:
        return future.result(timeout + _ANSWER_MARGIN_SECONDS)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer in time")) from error


def topic_partitions(admin: AdminClient, topics: Sequence[str], timeout: float) -> dict[str, int]:
    """Partition counts of those of ``topics`` that exist.

    Those we have no right on do not exist for us: :mod:`stream_scorer.kafka.rights`.

    Raises:
        RetryableError: no broker answered within ``timeout`` seconds.
        FatalError: they refuse us, or we them; says why and which setting to look at.
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
    """The cluster's id and those of topics, which a topic made anew under the name does not share.

    Raises:
        RetryableError, FatalError: the broker refused, or a topic is missing.
    """
    try:
        cluster = str(admin.list_topics(timeout=timeout).cluster_id or "")
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout)
        return cluster, {n: str(answer(told, timeout).topic_id) for n, told in asked.items()}
    except KafkaException as error:
        raise translate(error) from error


def _fetch_metadata(admin: AdminClient, timeout: float) -> ClusterMetadata:
    """Ask with more and more patience, so that a wrong password is told at once."""
    deadline, patience = time.monotonic() + timeout, _FIRST_PATIENCE_SECONDS
    while True:
        try:
            found = admin.list_topics(timeout=min(patience, max(0.1, deadline - time.monotonic())))
        except KafkaException as error:
            failure = explain(error, admin)
            if isinstance(failure, FatalError) or time.monotonic() > deadline:
                raise failure from error
            patience *= 2
        else:
            if isinstance(admin, Admin):
                admin.errors.last = None
            return found


def create_topics(
    admin: AdminClient,
    topics: Mapping[str, Mapping[str, str]],
    partitions: int,
    replication_factor: int,
    timeout: float = 30.0,
) -> dict[str, bool]:
    """Create topics (name → configuration); True for those that were not there before.

    Raises:
        RetryableError, FatalError: the broker refused.
    """
    new = [
        NewTopic(name, num_partitions=partitions, replication_factor=replication_factor,
                 config=dict(config))
        for name, config in topics.items()
    ]  # fmt: skip
    made: dict[str, bool] = {}
    for name, future in admin.create_topics(new, request_timeout=timeout).items():
        try:
            answer(future, timeout)
            made[name] = True
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(error) from error
            made[name] = False
    deadline = time.monotonic() + timeout
    while len(topic_partitions(admin, list(topics), timeout)) < len(topics):
        if time.monotonic() > deadline:
            raise RetryableError("topics were created but do not show up in the metadata")
        time.sleep(0.05)
    return made


def extend_topics(
    admin: AdminClient, topics: Sequence[str], partitions: int, timeout: float = 30.0
) -> None:
    """Give topics so many partitions in all; theirs must be fewer.

    Raises:
        RetryableError, FatalError: the broker refused, or does not show them in time.
    """
    new = [NewPartitions(name, partitions) for name in topics]
    for future in admin.create_partitions(new, request_timeout=timeout).values():
        try:
            answer(future, timeout)
        except KafkaException as error:
            raise translate(error) from error
    deadline = time.monotonic() + timeout
    while min(topic_partitions(admin, topics, timeout).values()) < partitions:
        if time.monotonic() > deadline:
            raise RetryableError("topics were extended but do not show it in the metadata")
        time.sleep(0.05)


def topic_config(admin: AdminClient, topic: str, timeout: float = 10.0) -> dict[str, str]:
    """The configuration of one topic."""
    try:
        return _config(admin, ConfigResource(ResourceType.TOPIC, topic), timeout)
    except KafkaException as error:
        raise translate(error) from error


def broker_configs(admin: AdminClient, timeout: float = 10.0) -> list[dict[str, str]]:
    """The configuration of each broker that is up.

    Raises:
        RetryableError, FatalError: no answer, or this user may not know.
    """
    try:
        brokers = admin.list_topics(timeout=timeout).brokers
        return [_config(admin, ConfigResource(ResourceType.BROKER, str(b)), timeout)
                for b in brokers]  # fmt: skip
    except KafkaException as error:
        raise translate(error) from error


def _config(admin: AdminClient, resource: ConfigResource, timeout: float) -> dict[str, str]:
    asked = admin.describe_configs([resource], request_timeout=timeout)
    entries = answer(asked[resource], timeout)
    return {name: str(entry.value) for name, entry in entries.items()}
