"""The Schema Registry: finds writers' schemas and registers our own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Final

from schemas.contracts import AvroSchema
from schemas.resolver import LocalSchemas, SchemaKey, SchemaResolver, UnknownSchema, resolve_all
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.schema_lookups import (
    BATCH_SECONDS,
    COMMAND_BATCH_SECONDS,
    NEGATIVE_SECONDS,
    SchemaLookups,
)
from stream_scorer.runtime.schema_requests import RegistryClient
from stream_scorer.runtime.settings import RegistrySettings

log = logging.getLogger(__name__)

_FINGERPRINT_BYTES: Final = 8
_GOOD_KEYS: Final = 3  # that a probe may ask for; one of them may be in trouble itself


class RegistryResolver:
    """Finds schemas by id and GUID in a Schema Registry, and by fingerprint in ``schemas/``.

    A found schema is cached, since ids and GUIDs are immutable. An unknown schema is looked up
    again after ``NEGATIVE_SECONDS``. While the registry answers other requests, a schema that it
    refuses or fails for is unknown too. Safe to share between threads.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        contract: str = "transaction",
        *,
        batch_seconds: float = BATCH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = RegistryClient(settings)
        self._local = LocalSchemas(contract)
        self._good: tuple[SchemaKey, ...] = ()
        self._lookups = SchemaLookups(self._fetch, self._probe, batch_seconds, clock)

    def by_id(self, schema_id: int) -> AvroSchema:
        """The schema of a Confluent schema id.

        Raises:
            UnknownSchema: the registry has no such schema, it is not an Avro schema, or the
                registry refuses or fails for this schema alone.
            RetryableError: the registry did not answer, or failed.
            FatalError: the registry refused our credentials.
        """
        return self._lookups.get(schema_id)

    def by_guid(self, guid: bytes) -> AvroSchema:
        """The schema of a 16-byte Confluent schema GUID; errors as :meth:`by_id`."""
        return self._lookups.get(guid)

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        """A version kept in ``schemas/``: a registry cannot look up fingerprints."""
        return self._local.by_fingerprint(fingerprint)

    def resolve_all(
        self, keys: Iterable[SchemaKey], use: Callable[[SchemaKey, AvroSchema], None]
    ) -> dict[SchemaKey, str]:
        """Look up the schemas of a batch, many at a time; see :class:`SchemaLookups`."""
        asked, local = list[SchemaKey](), list[SchemaKey]()
        for key in keys:
            is_local = isinstance(key, bytes) and len(key) == _FINGERPRINT_BYTES
            (local if is_local else asked).append(key)
        unknown = resolve_all(self._local, local, use)
        return unknown | self._lookups.resolve_all(asked, use) if asked else unknown

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register ``schema`` and return its id; registering it again changes nothing.

        A subject without a compatibility rule gets BACKWARD, if we are authorized to set it.

        Raises:
            RetryableError: the registry did not answer, or failed.
            FatalError: the schema is incompatible with the subject's, or we are not authorized.
        """
        schema_id = self._client.register(subject, schema)
        try:
            self._client.guard(subject)
        except (UnknownSchema, RetryableError, FatalError) as error:
            log.info("the compatibility level of %s was not changed: %s", subject, error)
        self._lookups.put(schema_id, schema)
        self._note_good(schema_id)
        return schema_id

    def ping(self) -> None:
        """Check that the registry answers and accepts our credentials; errors as :meth:`by_id`."""
        self._client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._lookups.close()
        self._client.close()

    def _fetch(self, key: SchemaKey) -> AvroSchema:
        schema = self._client.fetch(key)
        self._note_good(key)
        return schema

    def _note_good(self, key: SchemaKey) -> None:
        self._good = (key, *(k for k in self._good if k != key))[:_GOOD_KEYS]

    def _probe(self, failed: SchemaKey) -> None:
        """Ask for the schemas found last, until one is answered.

        The list of schema types is asked for only if there are none: a registry lists its types
        even if it has lost all schemas.
        """
        others = [key for key in self._good if key != failed]
        if not others:
            self._client.ping()
        for key in others:
            try:
                self._client.fetch(key)
            except UnknownSchema:  # deleted since, which is an answer
                return
            except (RetryableError, FatalError):
                if key == others[-1]:
                    raise
            else:
                return


def open_resolver(
    settings: RegistrySettings,
    contract: str = "transaction",
    *,
    batch_seconds: float = COMMAND_BATCH_SECONDS,
) -> SchemaResolver:
    """The resolver for these settings: with a registry if one is configured, else without."""
    if settings.schema_registry_url:
        return RegistryResolver(settings, contract, batch_seconds=batch_seconds)
    return LocalSchemas(contract)


@contextmanager
def using_resolver(
    settings: RegistrySettings, contract: str = "transaction"
) -> Iterator[SchemaResolver]:
    """The same as a context manager, which closes the connections at the end."""
    resolver = open_resolver(settings, contract)
    try:
        yield resolver
    finally:
        if isinstance(resolver, RegistryResolver):
            resolver.close()


def register_schema(settings: RegistrySettings, topic: str, schema: AvroSchema) -> int | None:
    """Register a topic's schema as ``<topic>-value``; returns its id, or None without a registry.

    Raises:
        RetryableError, FatalError: as :meth:`RegistryResolver.register`.
    """
    if not settings.schema_registry_url:
        return None
    with closing(RegistryResolver(settings)) as resolver:
        return resolver.register(f"{topic}-value", schema)


__all__ = [
    "NEGATIVE_SECONDS",
    "RegistryResolver",
    "open_resolver",
    "register_schema",
    "using_resolver",
]
