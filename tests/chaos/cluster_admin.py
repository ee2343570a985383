"""Changes to topics, intended or not: delete, make read-only, lower limits, extend."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented, not exported
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)

from stream_scorer.kafka.admin import create_topics, topic_partitions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import AdminClient
from stream_scorer.runtime.settings import KafkaSettings
from tests.support.waiting import wait_until

_SECONDS = 30.0
AUTHORIZING: Mapping[str, str] = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
"""Broker settings with which a topic can be made read-only."""


class ClusterAdmin:
    """Administration of one cluster."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._admin: AdminClient = open_admin(settings)

    def delete(self, *topics: str) -> None:
        """Delete topics with all their records; returns when they are gone."""
        for future in self._admin.delete_topics(list(topics)).values():
            future.result(_SECONDS)
        wait_until(lambda: not self.partitions(*topics), what=f"{topics} to be gone")

    def create(self, topics: Mapping[str, Mapping[str, str]], partitions: int) -> None:
        """Create topics."""
        create_topics(self._admin, topics, partitions, -1)

    def partitions(self, *topics: str) -> dict[str, int]:
        """Partition counts of the topics that exist."""
        return topic_partitions(self._admin, topics, _SECONDS)

    def extend(self, topic: str, partitions: int) -> None:
        """Add partitions, up to this count."""
        for future in self._admin.create_partitions([NewPartitions(topic, partitions)]).values():
            future.result(_SECONDS)
        wait_until(
            lambda: self.partitions(topic)[topic] == partitions, what=f"{topic} to be extended"
        )

    def delete_group(self, group: str) -> None:
        """Delete a group without members, with all its offsets."""
        for future in self._admin.delete_consumer_groups([group]).values():
            future.result(_SECONDS)

    def set_config(self, topic: str, name: str, value: str | None) -> None:
        """Set one setting of a topic; None restores the broker's default."""
        kind = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entry = ConfigEntry(name, value, incremental_operation=kind)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in self._admin.incremental_alter_configs([resource]).values():
            future.result(_SECONDS)

    def deny_writes(self, topic: str) -> None:
        """Deny writes to all users; reads remain allowed."""
        bindings = [
            _binding(topic, AclOperation.ALL, AclPermissionType.ALLOW),
            _binding(topic, AclOperation.WRITE, AclPermissionType.DENY),
        ]
        for future in self._admin.create_acls(bindings).values():
            future.result(_SECONDS)

    def allow_writes(self, topic: str) -> None:
        """Undo :meth:`deny_writes`. The denial goes first, so that it never remains alone."""
        for operation, permission in (
            (AclOperation.WRITE, AclPermissionType.DENY),
            (AclOperation.ALL, AclPermissionType.ALLOW),
        ):
            wanted = AclBindingFilter(
                ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*",
                operation, permission,
            )  # fmt: skip
            for future in self._admin.delete_acls([wanted]).values():
                future.result(_SECONDS)


def _binding(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation, permission
    )
