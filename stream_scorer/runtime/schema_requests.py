"""Requests to the Schema Registry; every failure becomes one of this project's exceptions.

The registry's client is imported only if a registry is configured, so that it costs nothing
otherwise.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from schemas.contracts import AvroSchema, canonical_form
from schemas.references import compose
from schemas.resolver import SchemaKey, UnknownSchema
from schemas.text import encodable
from stream_scorer.errors import FatalError, RetryableError, SettingsError
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.settings import RegistrySettings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

_T = TypeVar("_T")

REQUEST_SECONDS: Final = 5.0
"""Per request, so that a hanging registry never blocks the loop past its poll interval."""

_MAX_ID: Final = 2**31 - 1  # a registry's ids are Java ints; on the wire they are 4 bytes
_MAX_SCHEMA_CHARS: Final = 1024 * 1024  # a transaction's schema has 40,000
_MAX_REFERENCES: Final = 50
_SHOWN_CHARS: Final = 200  # of a registry's message; a dead letter's reason has 500
_UNAUTHORISED: Final = (401, 403)
_UNKNOWN: Final = (400, 404, 422)
_INCOMPATIBLE: Final = 409
_UNTRUSTED: Final = (
    "; set SSL_CERT_FILE to the CA certificates (PEM) that signed the registry's certificate"
)


class RegistryClient:
    """One registry. Safe to share between threads.

    Raises:
        SettingsError: the registry's address or credentials cannot be used.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._client = _open_client(settings)

    def fetch(self, key: SchemaKey) -> AvroSchema:
        """The schema of an id or a GUID.

        Raises:
            UnknownSchema: the registry has no such schema, or it is not an Avro schema.
            RetryableError: the registry did not answer, or failed.
            FatalError: the registry refused our credentials.
        """
        client = self._client
        # It would keep every schema for ever, and the caller has a cache of its own.
        client.clear_caches()  # type: ignore[no-untyped-call]  # the library's own gap
        if isinstance(key, int):
            name = f"schema id {key}"
            if not 0 <= key <= _MAX_ID:
                raise UnknownSchema(f"{name} is not a valid registry id")
            return self._compose(name, _request(name, lambda: client.get_schema(key)))
        text = str(uuid.UUID(bytes=key))
        name = f"schema GUID {text}"
        return self._compose(name, _request(name, lambda: client.get_schema_by_guid(text)))

    def _compose(self, name: str, schema: Schema) -> AvroSchema:
        """A schema with those it refers to, directly or through others.

        Those are read by subject and version, which never change.
        """
        referred: dict[str, AvroSchema] = {}
        todo = list(schema.references or ())
        seen: set[tuple[object, object]] = set()
        while todo:
            reference = todo.pop()
            subject, version = reference.subject, reference.version
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            if len(seen) > _MAX_REFERENCES:
                raise UnknownSchema(f"{name} has more than {_MAX_REFERENCES} references")
            what = f"{name}, reference {_shown(reference.name)} ({_shown(subject)} {version})"
            found = self._referred(what, subject, version)
            referred[str(reference.name)] = _parse(what, found, None)
            todo += found.references or ()
        return _parse(name, schema, referred)

    def _referred(self, what: str, subject: object, version: object) -> Schema:
        if not isinstance(subject, str) or type(version) is not int:
            raise UnknownSchema(f"{what} names no subject and version")
        # Deleted versions too: those that refer to them can still be in use.
        found = _request(what, lambda: self._client.get_version(subject, version, deleted=True))
        return found.schema

    def ping(self) -> None:
        """Check that the registry answers and accepts our credentials; errors as :meth:`fetch`."""
        what = "listing schema types"
        if not isinstance(_request(what, self._client.get_schema_types), list):
            raise RetryableError(f"schema registry, {what}: the answer is not a list")

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register ``schema`` and return its id.

        Raises:
            RetryableError: the registry did not answer, or failed.
            FatalError: the schema is incompatible with the subject's, or we are not authorized.
        """
        from confluent_kafka.schema_registry import Schema

        avro = Schema(json.dumps(schema), "AVRO")
        try:
            return int(
                _request(
                    f"registering {subject}", lambda: self._client.register_schema(subject, avro)
                )
            )
        except UnknownSchema as error:
            raise FatalError(str(error)) from error

    def guard(self, subject: str) -> None:
        """Set BACKWARD if neither subject nor registry has a rule; errors as :meth:`fetch`."""
        client = self._client
        if _level(lambda: client.get_compatibility(subject)) is None and _level(
            client.get_compatibility
        ) in (None, "NONE"):
            _request(
                "setting the compatibility level",
                lambda: client.set_compatibility(subject, "BACKWARD"),
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


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
        text = f"schema registry, {what}: {_shown(error.error_message)} (HTTP {status})"
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
        why = f"{type(error).__name__}: {_shown(error)}"
        raise RetryableError(
            f"schema registry, {what}: no usable answer ({why}){advice}"
        ) from error


def _shown(message: object) -> str:
    """Text from a registry: without passwords, encodable, and not too long for a header."""
    text = encodable(mask_userinfo(str(message)))
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _parse(name: str, schema: Schema, referred: Mapping[str, AvroSchema] | None) -> AvroSchema:
    """The Avro schema in a registry's response, composed with those it refers to, and valid.

    Without ``referred`` it is one of those, which are valid only together.

    Raises:
        UnknownSchema: it is not an Avro schema.
        RetryableError: the response is not a schema.
    """
    if (schema.schema_type or "AVRO") != "AVRO":
        raise UnknownSchema(
            f"{name} is of type {_shown(schema.schema_type)}, not Avro: write Avro or JSON"
        )
    text = schema.schema_str
    if not isinstance(text, str):
        raise RetryableError(f"schema registry, {name}: the answer has no schema")
    if len(text) > _MAX_SCHEMA_CHARS:
        raise UnknownSchema(f"{name} has {len(text)} characters, more than {_MAX_SCHEMA_CHARS}")
    try:
        parsed = json.loads(text)
        if referred is not None:
            parsed = compose(parsed, referred) if referred else parsed
            canonical_form(parsed)
    except Exception as error:
        raise UnknownSchema(f"{name} is not a valid Avro schema: {_shown(error)}") from error
    return parsed
