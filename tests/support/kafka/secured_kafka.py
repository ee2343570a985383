"""An embedded Kafka with SCRAM over TLS, mutual TLS and an authorizer, for tests of security."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from stream_scorer.dead_letters.redrive import GROUP_SUFFIX as REDRIVE_SUFFIX
from stream_scorer.dead_letters.skip import TRANSACTIONAL_SUFFIX
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import KafkaException
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.stream.rejections.ledger import GROUP_SUFFIX
from tests.support.kafka.pki import Authority
from tests.support.waiting import wait_until

_ITERATIONS: Final = 4096  # the minimum that Kafka accepts
_RESPONSE_SECONDS: Final = 60.0
_ANY: Final = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None,  # type: ignore[arg-type]
    AclOperation.ANY, AclPermissionType.ANY,
)  # fmt: skip
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"

Rights = Mapping[str, AclBinding]


@dataclass(frozen=True)
class SecuredKafka:
    """The broker, its certificate authority, and methods to add users and ACLs."""

    broker: EmbeddedBroker
    authority: Authority

    @property
    def inside(self) -> KafkaSettings:
        """The plaintext listener for the tests themselves, where everything is allowed."""
        return self.broker.settings

    def add_user(self, name: str, password: str) -> None:
        """Add a SCRAM-SHA-512 user."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        admin = open_admin(self.inside)
        change = UserScramCredentialUpsertion(name, info, password.encode())
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(_RESPONSE_SECONDS)
        # Kafka responds before the brokers know the user.
        wait_until(lambda: self._knows(name), what=f"the user {name}")

    def _knows(self, name: str) -> bool:
        admin = open_admin(self.inside)  # keep a reference: without it nothing serves the response
        futures: Any = admin.describe_user_scram_credentials([name])
        try:
            return bool(futures[name].result(_RESPONSE_SECONDS).scram_credential_infos)
        except KafkaException:
            return False

    def grant(self, bindings: Iterable[AclBinding]) -> None:
        """Add ACLs."""
        admin, wanted = open_admin(self.inside), list(bindings)
        for future in admin.create_acls(wanted).values():
            future.result(_RESPONSE_SECONDS)

        def known() -> set[AclBinding]:
            return set(admin.describe_acls(_ANY).result(_RESPONSE_SECONDS))

        wait_until(lambda: known() >= set(wanted), what="the ACLs")

    def by_scram(self, name: str, password: str) -> dict[str, str]:
        """The environment of a client that logs in with SCRAM over TLS."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_of("SASLTLS"),
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": name,
            "KAFKA_SASL_PASSWORD": password,
            "KAFKA_SSL_CA_LOCATION": str(self.authority.path),
        }

    def by_certificate(self, name: str, folder: Path) -> dict[str, str]:
        """The environment of a client with a certificate; writes its properties file."""
        pem = self.authority.issue(name)
        path = folder / f"{name}.properties"
        path.write_text(f"ssl.certificate.location={pem}\nssl.key.location={pem}\n")
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_of("MTLS"),
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_LOCATION": str(self.authority.path),
            "KAFKA_CONFIG_FILE": str(path),
        }


def scorer_rights(principal: str, topics: TopicSettings, group_id: str) -> Rights:
    """The minimal ACLs of a scorer, each under a short name."""
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    read, write = AclOperation.READ, AclOperation.WRITE
    wanted = {
        "input": (ResourceType.TOPIC, topics.input_topic, literal, read),
        "group": (ResourceType.GROUP, group_id, literal, read),
        "ledger": (ResourceType.GROUP, group_id + GROUP_SUFFIX, literal, read),
        "output": (ResourceType.TOPIC, topics.output_topic, literal, write),
        "dlq": (ResourceType.TOPIC, topics.dlq_topic, literal, write),
        "txn": (ResourceType.TRANSACTIONAL_ID, group_id, prefixed, write),
    }
    return _bindings(principal, wanted)


def shadow_right(principal: str, topics: TopicSettings) -> AclBinding:
    """What a scorer needs in addition to keep the scores of a challenger."""
    return reader_right(principal, topics.shadow_topic, AclOperation.WRITE)


def history_rights(principal: str, topics: TopicSettings) -> Rights:
    """What a scorer needs in addition for models with card history."""
    literal = ResourcePatternType.LITERAL
    read, describe = AclOperation.READ, AclOperation.DESCRIBE_CONFIGS
    wanted = {
        "dead letters": (ResourceType.TOPIC, topics.dlq_topic, literal, read),
        "retention of inputs": (ResourceType.TOPIC, topics.input_topic, literal, describe),
        "retention of dead letters": (ResourceType.TOPIC, topics.dlq_topic, literal, describe),
    }
    return _bindings(principal, wanted)


def operator_rights(principal: str, topics: TopicSettings, group_id: str) -> Rights:
    """The minimal ACLs for the commands of the runbooks, each under a short name."""
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    wanted = {
        f"{operation.name} {topic}": (ResourceType.TOPIC, topic, literal, operation)
        for topic in topics.model_dump().values()
        for operation in (AclOperation.READ, AclOperation.DESCRIBE_CONFIGS)
    } | {
        "groups": (ResourceType.GROUP, group_id, prefixed, AclOperation.READ),
        "input": (ResourceType.TOPIC, topics.input_topic, literal, AclOperation.WRITE),
        "txn": (
            ResourceType.TRANSACTIONAL_ID, group_id + REDRIVE_SUFFIX, literal, AclOperation.WRITE,
        ),
        "dead letters": (ResourceType.TOPIC, topics.dlq_topic, literal, AclOperation.WRITE),
        "skip": (
            ResourceType.TRANSACTIONAL_ID, group_id + TRANSACTIONAL_SUFFIX, literal,
            AclOperation.WRITE,
        ),
        "brokers": (
            ResourceType.BROKER, "kafka-cluster", literal, AclOperation.DESCRIBE_CONFIGS,
        ),
    }  # fmt: skip
    return _bindings(principal, wanted)


def report_rights(principal: str, topics: TopicSettings) -> Rights:
    """The minimal ACLs for the nightly reports: they read without joining a group."""
    literal = ResourcePatternType.LITERAL
    read = (topics.input_topic, topics.output_topic, topics.shadow_topic, topics.labels_topic)
    wanted = {topic: (ResourceType.TOPIC, topic, literal, AclOperation.READ) for topic in read}
    return _bindings(principal, wanted)


def _bindings(
    principal: str,
    wanted: Mapping[str, tuple[ResourceType, str, ResourcePatternType, AclOperation]],
) -> Rights:
    return {
        right: AclBinding(kind, name, pattern, principal, "*", operation, AclPermissionType.ALLOW)
        for right, (kind, name, pattern, operation) in wanted.items()
    }


def follower_rights(principal: str, topics: TopicSettings, group_id: str) -> Rights:
    """What a dashboard reads of the scorers' input: backlog, records, dead letters, histories."""
    group = AclBinding(
        ResourceType.GROUP, group_id, ResourcePatternType.LITERAL, principal, "*",
        AclOperation.DESCRIBE, AclPermissionType.ALLOW,
    )  # fmt: skip
    return {
        "input": reader_right(principal, topics.input_topic),
        "dlq": reader_right(principal, topics.dlq_topic),
        "group": group,
    }


def dashboard_rights(principal: str, topics: TopicSettings, group_id: str) -> list[AclBinding]:
    """The minimal ACLs for the dashboard."""
    return [
        reader_right(principal, topics.output_topic),
        *follower_rights(principal, topics, group_id).values(),
        *(
            reader_right(principal, topic, operation)
            for topic in (topics.labels_topic, topics.audit_topic)
            for operation in (AclOperation.READ, AclOperation.WRITE)
        ),
    ]


def reader_right(
    principal: str, topic: str, operation: AclOperation = AclOperation.READ
) -> AclBinding:
    """READ, or another operation, on one topic."""
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        principal,
        "*",
        operation,
        AclPermissionType.ALLOW,
    )


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """A running broker; clients of its plaintext listener are super users, for tests only."""
    authority = Authority(folder / "pki")
    server = authority.issue("broker")
    properties = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasltls.scram-sha-512.sasl.jaas.config": _SCRAM,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.path),
        "listener.name.mtls.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }
    listeners = {"SASLTLS": "SASL_SSL", "MTLS": "SSL"}
    with EmbeddedBroker(folder / "kafka", properties=properties, listeners=listeners) as broker:
        yield SecuredKafka(broker, authority)
