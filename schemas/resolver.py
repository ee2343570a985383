"""How a writer's schema is found."""

from __future__ import annotations

from typing import Protocol

from schemas.contracts import AvroSchema, known_schemas


class UnknownSchema(LookupError):
    """A record names a schema that cannot be found; the message says which one and why."""


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
