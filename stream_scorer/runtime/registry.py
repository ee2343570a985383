"""The Schema Registry: finds writers' schemas and registers our own.

The registry's client is imported only if a registry is configured, so that it costs nothing
otherwise.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from schemas.contracts import AvroSchema, canonical_form
from schemas.resolver import LocalSchemas, SchemaResolver, UnknownSchema
from stream_scorer.errors import FatalError, RetryableError, SettingsError
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.settings import RegistrySettings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

log = logging.getLogger(__name__)

_T = TypeVar("_T")

NEGATIVE_SECONDS: Final = 30.0
"""How long a failed look-up is cached. A stream of invalid records must not cause a stream of
requests, and a schema that is registered a little late must still be found."""

REQUEST_SECONDS: Final = 5.0
"""Per request, so that a hanging registry never blocks the loop past its poll interval."""

_MAX_UNKNOWN: Final = 10_000  # random ids must not exhaust the memory
_MAX_ID: Final = 2**31 - 1  # a registry's ids are Java ints; on the wire they are 4 bytes
_UNAUTHORISED: Final = (401, 403)
_UNKNOWN: Final = (400, 404, 422)
_INCOMPATIBLE: Final = 409
_UNTRUSTED: Final = (
    "; set SSL_CERT_FILE to the CA certificates (PEM) that signed the registry's certificate"
)


class RegistryResolver:
    """Finds schemas by id and GUID in a Schema Registry, and by fingerprint in ``schemas/``.

    A found schema is cached forever, since ids and GUIDs are immutable. An unknown schema is
    looked up again after ``NEGATIVE_SECONDS``. Safe to share between threads.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        contract: str = "transaction",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = _open_client(settings)
        self._local = LocalSchemas(contract)
        self._clock = clock
        self._found: dict[int | bytes, AvroSchema] = {}
        self._unknown: dict[int | bytes, tuple[float, str]] = {}

    def by_id(self, schema_id: int) -> AvroSchema:
        """The schema of a Confluent schema id.

        Raises:
            UnknownSchema: the registry has no such schema, or it is not an Avro schema.
            RetryableError: the registry did not answer, or failed.
            FatalError: the registry refused our credentials.
        """
        if not 0 <= schema_id <= _MAX_ID:
            raise UnknownSchema(f"schema id {schema_id} is not a valid registry id")
        return self._find(
            schema_id, f"schema id {schema_id}", lambda: self._client.get_schema(schema_id)
        )

    def by_guid(self, guid: bytes) -> AvroSchema:
        """The schema of a 16-byte Confluent schema GUID; errors as :meth:`by_id`."""
        text = str(uuid.UUID(bytes=guid))
        return self._find(
            guid, f"schema GUID {text}", lambda: self._client.get_schema_by_guid(text)
        )

    def by_fingerprint(self, fingerprint: bytes) -> AvroSchema:
        """A version kept in ``schemas/``: a registry cannot look up fingerprints."""
        return self._local.by_fingerprint(fingerprint)

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register ``schema`` and return its id; registering it again changes nothing.

        A subject without a compatibility rule gets BACKWARD, if we are authorized to set it.

        Raises:
            RetryableError: the registry did not answer, or failed.
            FatalError: the schema is incompatible with the subject's, or we are not authorized.
        """
        from confluent_kafka.schema_registry import Schema

        try:
            schema_id = int(
                _request(
                    f"registering {subject}",
                    lambda: self._client.register_schema(
                        subject, Schema(json.dumps(schema), "AVRO")
                    ),
                )
            )
        except UnknownSchema as error:
            raise FatalError(str(error)) from error
        self._guard(subject)
        self._found[schema_id] = schema
        return schema_id

    def ping(self) -> None:
        """Check that the registry answers and accepts our credentials; errors as :meth:`by_id`."""
        _request("listing schema types", self._client.get_schema_types)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _find(self, key: int | bytes, name: str, fetch: Callable[[], Schema]) -> AvroSchema:
        if key in self._found:
            return self._found[key]
        if (known := self._unknown.get(key)) is not None:
            until, reason = known
            if self._clock() < until:
                raise UnknownSchema(reason)
        try:
            schema = _parse(name, _request(name, fetch))
        except UnknownSchema as error:
            if len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[key] = (self._clock() + NEGATIVE_SECONDS, str(error))
            raise
        self._unknown.pop(key, None)
        self._found[key] = schema
        return schema

    def _guard(self, subject: str) -> None:
        """Set BACKWARD if neither the subject nor the registry has a rule; never raises."""
        client = self._client
        try:
            if _level(lambda: client.get_compatibility(subject)) is None and _level(
                client.get_compatibility
            ) in (None, "NONE"):
                _request(
                    "setting the compatibility level",
                    lambda: client.set_compatibility(subject, "BACKWARD"),
                )
        except (UnknownSchema, RetryableError, FatalError) as error:
            log.info("the compatibility level of %s was not changed: %s", subject, error)


def open_resolver(settings: RegistrySettings, contract: str = "transaction") -> SchemaResolver:
    """The resolver for these settings: with a registry if one is configured, else without."""
    if settings.schema_registry_url:
        return RegistryResolver(settings, contract)
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


def _open_client(settings: RegistrySettings) -> SchemaRegistryClient:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    config: dict[str, Any] = {
        "url": settings.schema_registry_url,
        "timeout": REQUEST_SECONDS,
        # The caller backs off and retries, and must be able to stop in between.
        "max.retries": 1,
        "retries.wait.ms": 100,
    }
    if (secret := settings.schema_registry_basic_auth_user_info) is not None:
        config["basic.auth.user.info"] = secret.get_secret_value()
    try:
        return SchemaRegistryClient(config)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"SCHEMA_REGISTRY_URL: {mask_userinfo(str(error))}") from error


def _level(request: Callable[[], str]) -> str | None:
    """A compatibility level; None if none is set (the registry answers 404)."""
    try:
        return _request("reading the compatibility level", request)
    except UnknownSchema:
        return None


def _request(what: str, request: Callable[[], _T]) -> _T:
    """Send a request; translates every way it can fail into one of this project's exceptions."""
    from confluent_kafka.schema_registry import SchemaRegistryError

    try:
        return request()
    except SchemaRegistryError as error:
        status = error.http_status_code
        message = mask_userinfo(str(error.error_message))
        text = f"schema registry, {what}: {message} (HTTP {status})"
        if status in _UNAUTHORISED:
            raise FatalError(f"{text}; check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO") from error
        if status == _INCOMPATIBLE:
            raise FatalError(text) from error
        if status in _UNKNOWN:
            raise UnknownSchema(text) from error
        raise RetryableError(text) from error
    except Exception as error:
        # Broad on purpose: the transport's errors (httpx or httpx2, whichever the client found)
        # have no common base class to name here, and a body that is not JSON raises others.
        advice = _UNTRUSTED if "CERTIFICATE_VERIFY_FAILED" in str(error) else ""
        why = f"{type(error).__name__}: {mask_userinfo(str(error))}"
        raise RetryableError(
            f"schema registry, {what}: no usable answer ({why}){advice}"
        ) from error


def _parse(name: str, schema: Schema) -> AvroSchema:
    """The Avro schema in a registry's response, checked to be valid.

    Raises:
        UnknownSchema: it is not an Avro schema, or refers to other subjects.
    """
    if (schema.schema_type or "AVRO") != "AVRO":
        raise UnknownSchema(f"{name} is a {schema.schema_type} schema, not Avro")
    if schema.references:
        raise UnknownSchema(f"{name} refers to other subjects, which is not supported")
    try:
        parsed = json.loads(schema.schema_str or "")
        canonical_form(parsed)
    except Exception as error:
        raise UnknownSchema(f"{name} is not a valid Avro schema: {error}") from error
    return parsed
