"""Kafka clients as this project configures them: the one place for librdkafka's settings."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)

# The names are documented, though the module does not list them as its exports.
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from stream_scorer.errors import FatalError, RetryableError, UsageError
from stream_scorer.runtime.kafka_advice import CERTIFICATE_ALERTS, with_advice
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

_Client = TypeVar("_Client")
_T = TypeVar("_T")

_OURS: Final = frozenset(
    {
        "acks",
        "auto.offset.reset",  # latest: what was there before the first scorer is never scored
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",  # without it a reader never sees the end
        "group.id",
        "isolation.level",
        "partitioner",
        "transactional.id",
    }
)
"""What no properties file may change; the group has a variable of its own."""

_OF_MEMBERS: Final = (
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "session.timeout.ms",
)
"""What a properties file may set for the scorers' membership of their group, and for it alone."""

INPUT_MAX_BYTES: Final = 4 * 1024 * 1024
"""``max.message.bytes`` of the input topic: anything larger never enters."""

OUTPUT_MAX_BYTES: Final = 5 * 1024 * 1024
"""Of output and dead letter topic, and of producers: an input record plus its headers fits."""

# Errors that only an operator can mend; librdkafka itself retries them for ever in silence.
_HOPELESS: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


_AFTER: Final = re.compile(r" \(after \d+ms in state \w+[^)]*\)")  # different in each attempt
_FIRST_PATIENCE_SECONDS: Final = 1.0
_ANSWER_MARGIN_SECONDS: Final = 1.0  # the client's own timeout comes first: it says what failed
_SAY_AGAIN_SECONDS: Final = 60.0  # a client that cannot connect tries several times a second
_MAX_SAID: Final = 100


def client_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """Settings every client shares; ``KAFKA_CONFIG_FILE`` wins over our defaults.

    Raises:
        UsageError: the file cannot be read, or sets what exactly-once depends on.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,  # default 10 s: a restarted broker is found sooner
        "client.id": "stream-scorer",
        "error_cb": Trouble(),
        "log_level": 4,
        "logger": logging.getLogger("librdkafka"),
    }
    if settings.kafka_sasl_mechanism:
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
    if settings.kafka_sasl_username:
        config["sasl.username"] = settings.kafka_sasl_username
    if settings.kafka_sasl_password:
        config["sasl.password"] = settings.kafka_sasl_password.get_secret_value()
    if settings.kafka_ssl_ca_location:
        config["ssl.ca.location"] = str(settings.kafka_ssl_ca_location)
    config |= more
    if settings.kafka_config_file:
        properties = read_properties(settings.kafka_config_file)
        if kept := sorted(_OURS & properties.keys()):
            raise UsageError(
                f"{settings.kafka_config_file}: {', '.join(kept)} cannot be set there: "
                "that each transaction is scored exactly once depends on it"
            )
        config |= properties
    return config


def consumer_config(settings: KafkaSettings, group_id: str, **more: Any) -> dict[str, Any]:
    """A consumer that reads committed records only and never commits by itself."""
    return client_config(
        settings,
        **{
            "group.id": group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": INPUT_MAX_BYTES,
            # default 1000 ms gives stalls of about a second with small queues
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 50,
            **more,
        },
    )


def producer_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """An idempotent producer that partitions as the Java client does (murmur2)."""
    return client_config(
        settings,
        **{
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": OUTPUT_MAX_BYTES,
            **more,
        },
    )


def reader_config(settings: KafkaSettings, group_id: str, **more: Any) -> dict[str, Any]:
    """:func:`consumer_config` of one that joins no group, unless ``more`` is about that.

    What ``KAFKA_CONFIG_FILE`` says about members is not for it: with the scorers' longest time
    between polls, say, and not their session timeout, the client refuses the two as they are.
    """
    of_others = set(_OF_MEMBERS) - more.keys()
    config = consumer_config(settings, group_id, **more)
    return {name: value for name, value in config.items() if name not in of_others}


def open_consumer(settings: KafkaSettings, group_id: str, **more: Any) -> Consumer:
    """A consumer with :func:`reader_config`."""
    return build_client(Consumer, reader_config(settings, group_id, **more))


def open_producer(settings: KafkaSettings, **more: Any) -> Producer:
    """A producer with :func:`producer_config`."""
    return build_client(Producer, producer_config(settings, **more))


class Trouble:
    """The ``error_cb`` of one client: logs each cause now and then, and keeps the last one.

    librdkafka answers a request that failed for want of a login with a timeout; why there is none
    comes here alone, and again at every attempt to connect.
    """

    def __init__(self) -> None:
        self.last: KafkaError | None = None
        self._said: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        """Called by the client, from its ``poll``."""
        text = _AFTER.sub("", error.str())
        if error.code() != KafkaError._ALL_BROKERS_DOWN and (
            is_hopeless(error) or self.last is None or not is_hopeless(self.last)
        ):
            self.last = error
        now = time.monotonic()
        if now - self._said.get(text, -_SAY_AGAIN_SECONDS) < _SAY_AGAIN_SECONDS:
            return
        if len(self._said) >= _MAX_SAID:
            self._said.clear()
        self._said[text] = now
        level = logging.ERROR if is_hopeless(error) else logging.WARNING
        log.log(level, "kafka: %s", with_advice(error.name(), text))


class Admin(AdminClient):
    """An admin client that knows what went wrong last."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.trouble = Trouble()
        config["error_cb"] = self.trouble
        super().__init__(config)


def open_admin(settings: KafkaSettings) -> Admin:
    """An admin client; keep it in a variable while its futures are waited for."""
    return build_client(Admin, client_config(settings))


def build_client(client: Callable[[dict[str, Any]], _Client], config: dict[str, Any]) -> _Client:
    """A client of the driver.

    Raises:
        UsageError: it refuses a setting.
    """
    try:
        return client(config)
    except KafkaException as error:  # at this point it can only be a setting
        raise UsageError(f"kafka settings: {error.args[0].str()}") from error


def read_properties(path: Path) -> dict[str, str]:
    """``key=value`` lines of a properties file; ``#`` starts a comment line.

    Raises:
        UsageError: it cannot be read, or a line is neither, with its number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"KAFKA_CONFIG_FILE={path}: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"{path}:{number}: expected key=value")
        found[key.strip()] = value.strip()
    return found


def translate(error: KafkaException) -> RetryableError | FatalError:
    """Our word for a driver's error: the whole decision table of confluent-kafka.

    ``fatal()`` or hopeless without an operator → :class:`FatalError`; everything else can be
    tried again after an abort.
    """
    cause = error.args[0]
    if not isinstance(cause, KafkaError):
        return RetryableError(f"kafka: {cause}")
    text = with_advice(cause.name(), f"{_AFTER.sub('', cause.str())} ({cause.name()})")
    if cause.fatal() or is_hopeless(cause):
        return FatalError(f"kafka: {text}")
    return RetryableError(f"kafka: {text}")


def driver_error(error: KafkaException | SystemError) -> KafkaException:
    """The driver's error behind what a call of it raised.

    A client that has become unusable raises out of any call that serves its callbacks. If there
    are more of them to serve, Python wraps that in a SystemError, since they are called while it
    is on its way; and where one of them clears it, nothing is left but that it was.

    Raises:
        SystemError: a callback of ours failed.
    """
    if isinstance(error, KafkaException):
        return error
    if isinstance(error.__cause__, KafkaException):
        return error.__cause__
    if error.__cause__ is not None:
        raise error
    text = f"the client is unusable, most likely fenced by another with its id ({error})"
    return KafkaException(KafkaError(KafkaError._FATAL, text, fatal=True))


def is_hopeless(error: KafkaError) -> bool:
    """Whether only an operator can mend it."""
    return error.code() in _HOPELESS or any(word in error.str() for word in CERTIFICATE_ALERTS)


def explain(error: KafkaException, admin: AdminClient) -> RetryableError | FatalError:
    """The same, by what kept the client from asking at all, if anything did."""
    admin.poll(0)  # nothing else calls an admin client's error_cb
    if isinstance(admin, Admin) and admin.trouble.last is not None:
        return translate(KafkaException(admin.trouble.last))
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

    Those we have no right on do not exist for us: :mod:`stream_scorer.runtime.kafka_rights`.

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
                admin.trouble.last = None
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


__all__ = [
    "INPUT_MAX_BYTES",
    "OUTPUT_MAX_BYTES",
    "Admin",
    "AdminClient",
    "Consumer",
    "KafkaError",
    "KafkaException",
    "Message",
    "Producer",
    "TopicCollection",
    "TopicPartition",
    "answer",
    "broker_configs",
    "build_client",
    "client_config",
    "consumer_config",
    "create_topics",
    "driver_error",
    "explain",
    "extend_topics",
    "is_hopeless",
    "open_admin",
    "open_consumer",
    "open_producer",
    "producer_config",
    "read_properties",
    "reader_config",
    "topic_config",
    "topic_ids",
    "topic_partitions",
    "translate",
]
