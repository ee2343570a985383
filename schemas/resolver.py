"""How a writer's schema is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from schemas.contracts import AvroSchema, known_schemas


class UnknownSchema(LookupError):
    """A record names a schema that cannot be found; the message says which one and why."""


SchemaKey = int | bytes
"""What identifies a writer's schema on the wire: a Confluent schema id, a 16-byte GUID, or an
8-byte fingerprint."""

GUID_BYTES = 16


class SchemaResolver(Protocol):
    """Finds the schema a record was written with."""

    def by_id(self, schema_id: int) -> AvroSchema:
        """The schema of a Confluent schema id.

        Raises:
            UnknownSchema: there is no such schema.
        """
        ...

    def by_guid(self, guid: bytes) -> AvroSchema:
        """The schema of a 16-byte Confluent schema GUID.

        Raises:
            UnknownSchema: there is no such schema.
        """
        ...

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        """The schema of an 8-byte little-endian CRC-64-AVRO fingerprint.

        Raises:
            UnknownSchema: there is no such schema.
        """
        ...


@runtime_checkable
class BatchResolver(SchemaResolver, Protocol):
    """A resolver that looks up all schemas of a batch at once."""

    def resolve_all(
        self, keys: Iterable[SchemaKey], use: Callable[[SchemaKey, AvroSchema], None]
    ) -> dict[SchemaKey, str]:
        """Pass each schema that is found to ``use``; return why the others are unknown.

        ``use`` may be called in another thread. Any error other than an unknown schema (such as a
        registry that does not answer) propagates.
        """
        ...


def resolve_all(
    resolver: SchemaResolver,
    keys: Iterable[SchemaKey],
    use: Callable[[SchemaKey, AvroSchema], None],
) -> dict[SchemaKey, str]:
    """:meth:`BatchResolver.resolve_all` by any resolver: one after another where it cannot."""
    if isinstance(resolver, BatchResolver):
        return resolver.resolve_all(keys, use)
    unknown: dict[SchemaKey, str] = {}
    for key in keys:
        try:
            use(key, resolve(resolver, key))
        except UnknownSchema as error:
            unknown[key] = str(error)
    return unknown


def resolve(resolver: SchemaResolver, key: SchemaKey) -> AvroSchema:
    """The schema of a key.

    Raises:
        UnknownSchema: there is no such schema.
    """
    if isinstance(key, int):
        return resolver.by_id(key)
    return resolver.by_guid(key) if len(key) == GUID_BYTES else resolver.by_fingerprint(key)


class LocalSchemas:
    """This code's own versions of one contract, by fingerprint; no registry."""

    def __init__(self, contract: str = "transaction") -> None:
        self._known = known_schemas(contract)

    def by_id(self, schema_id: int) -> AvroSchema:
        """Always unknown."""
        raise UnknownSchema(f"schema id {schema_id}: no schema registry is configured")

    def by_guid(self, guid: bytes) -> AvroSchema:
        """Always unknown."""
        raise UnknownSchema(f"schema GUID {guid.hex()}: no schema registry is configured")

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        """A version kept in ``schemas/``."""
        try:
            return self._known[fingerprint]
        except KeyError:
            raise UnknownSchema(f"schema fingerprint {fingerprint.hex()} is unknown") from None
