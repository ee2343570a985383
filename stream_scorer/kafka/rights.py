"""What the authorizer lets this client do; asked without doing it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import answer, explain
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.driver import AdminClient, KafkaError, KafkaException, TopicCollection
from stream_scorer.kafka.errors import translate
from stream_scorer.runtime.settings import KafkaSettings

_UNTOLD: Final = frozenset({"READ", "WRITE", "DESCRIBE"})  # older brokers: trusted, not known
_REFUSED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def refused_topics(admin: AdminClient, topics: Sequence[str], timeout: float) -> list[str]:
    """Those of ``topics`` that may be there but that we have no right on.

    A list of all topics leaves them out; only who asks by name is told.

    Raises:
        RetryableError, FatalError: no broker answered.
    """
    refused = []
    for name in topics:
        try:
            found = admin.list_topics(topic=name, timeout=timeout).topics.get(name)
        except KafkaException as error:
            raise explain(error, admin) from error
        error_of_topic = found.error if found is not None else None
        if (
            isinstance(error_of_topic, KafkaError)
            and error_of_topic.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        ):
            refused.append(name)
    return refused


def topic_rights(admin: AdminClient, topic: str, timeout: float = 10.0) -> frozenset[str]:
    """What we may do with a topic: ``READ``, ``WRITE``, … (KIP-430); nothing if refused."""
    futures = admin.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=timeout
    )
    return _rights(futures[topic], timeout)


def group_rights(admin: AdminClient, group_id: str, timeout: float = 10.0) -> frozenset[str]:
    """What we may do with a group, whether it has members or not; nothing if refused.

    For commands, not for what runs on: where the connection to the group's coordinator breaks
    under an admin client's request, librdkafka may abort the process (#4605).
    """
    futures = admin.describe_consumer_groups(
        [group_id], include_authorized_operations=True, request_timeout=timeout
    )
    return _rights(futures[group_id], timeout)


def refuse_txn(settings: KafkaSettings, prefix: str, timeout: float = 10.0) -> str | None:
    """Why transactional ids that begin with ``prefix`` cannot be used; None if they can.

    There is no request that asks. One id is registered, which the broker forgets in a week.
    """
    producer = open_producer(settings, **{"transactional.id": f"{prefix}-doctor-{uuid.uuid4()}"})
    try:
        producer.init_transactions(timeout)
    except KafkaException as error:
        failure = translate(error)
        if isinstance(failure, FatalError):
            return str(failure)
        raise failure from error
    return None


def _rights(future: Any, timeout: float) -> frozenset[str]:
    try:
        told = answer(future, timeout).authorized_operations
        return frozenset(o.name for o in told) if told else _UNTOLD
    except KafkaException as error:
        if error.args[0].code() in _REFUSED:
            return frozenset()
        raise translate(error) from error
