"""What the authorizer allows this client to do, checked without doing it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stream_scorer.errors import FatalError
from stream_scorer.kafka.admin import explain, wait_for
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.driver import AdminClient, KafkaError, KafkaException, TopicCollection
from stream_scorer.kafka.errors import translate
from stream_scorer.runtime.settings import KafkaSettings

_ASSUMED: Final = frozenset({"READ", "WRITE", "DESCRIBE"})  # where a broker does not report rights
_DENIED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def refused_topics(admin: AdminClient, topics: Sequence[str], timeout: float) -> list[str]:
    """Those of ``topics`` that may exist but that this user is not authorized for.

    A list of all topics leaves them out; only a request by name returns the error.

    Raises:
        RetryableError, FatalError: no broker answered.
    """
    denied = []
    for name in topics:
        try:
            found = admin.list_topics(topic=name, timeout=timeout).topics.get(name)
        except KafkaException as error:
            raise explain(error, admin) from error
        topic_error = found.error if found is not None else None
        if (
            isinstance(topic_error, KafkaError)
            and topic_error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        ):
            denied.append(name)
    return denied


def topic_rights(admin: AdminClient, topic: str, timeout: float = 10.0) -> frozenset[str]:
    """Operations allowed on a topic: ``READ``, ``WRITE``, … (KIP-430); empty if denied."""
    futures = admin.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=timeout
    )
    return _rights(futures[topic], timeout)


def topics_without_right(
    admin: AdminClient, needs: Mapping[str, str], timeout: float = 10.0
) -> list[str]:
    """Those of the topics, all of which exist, for which this user lacks the operation named."""
    return [name for name, need in needs.items() if need not in topic_rights(admin, name, timeout)]


def group_rights(admin: AdminClient, group_id: str, timeout: float = 10.0) -> frozenset[str]:
    """Operations allowed on a group, with or without members; empty if denied.

    Use it in commands, not in long-running processes: if the connection to the group coordinator
    breaks during an admin request, librdkafka may abort the process (issue 4605).
    """
    futures = admin.describe_consumer_groups(
        [group_id], include_authorized_operations=True, request_timeout=timeout
    )
    return _rights(futures[group_id], timeout)


def find_txn_error(settings: KafkaSettings, prefix: str, timeout: float = 10.0) -> str | None:
    """Why transactional ids with ``prefix`` cannot be used; None if they can.

    No request checks this, so one id is registered; the broker removes it after a week.
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
        operations = wait_for(future, timeout).authorized_operations
        return frozenset(o.name for o in operations) if operations else _ASSUMED
    except KafkaException as error:
        if error.args[0].code() in _DENIED:
            return frozenset()
        raise translate(error) from error
