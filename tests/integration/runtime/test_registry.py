"""The resolver against a Schema Registry over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from schemas.contracts import load_schema
from schemas.resolver import UnknownSchema
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.registry import NEGATIVE_SECONDS, RegistryResolver, register_schema
from stream_scorer.runtime.settings import RegistrySettings, load_settings
from tests.support.http_registry import HttpRegistry, running_registry

SCHEMA = load_schema("transaction")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> Iterator[HttpRegistry]:
    with running_registry() as registry:
        yield registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(registry: HttpRegistry, clock: Clock) -> Iterator[RegistryResolver]:
    with closing(RegistryResolver(settings(registry), clock=clock)) as resolver:
        yield resolver


def settings(registry: HttpRegistry, user_info: str | None = None) -> RegistrySettings:
    return load_settings(
        RegistrySettings,
        {
            "schema_registry_url": registry.url,
            "schema_registry_basic_auth_user_info": user_info,
        },
    )


def test_schema_is_found_by_id_and_guid(registry: HttpRegistry, resolver: RegistryResolver) -> None:
    schema_id, guid = registry.add(SCHEMA)
    assert resolver.by_id(schema_id) == SCHEMA
    assert resolver.by_guid(guid) == SCHEMA


def test_found_schema_is_never_requested_again(
    registry: HttpRegistry, resolver: RegistryResolver, clock: Clock
) -> None:
    schema_id, _ = registry.add(SCHEMA)
    first = resolver.by_id(schema_id)
    registry.fail_with = 500
    clock.now += 1e9
    assert resolver.by_id(schema_id) is first
    assert len(registry.requests) == 1


def test_unknown_id_is_requested_again_after_a_while(
    registry: HttpRegistry, resolver: RegistryResolver, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(UnknownSchema, match="Schema not found"):
            resolver.by_id(1)
    assert len(registry.requests) == 1
    registry.add(SCHEMA)
    clock.now += NEGATIVE_SECONDS - 1
    with pytest.raises(UnknownSchema):
        resolver.by_id(1)
    clock.now += 1
    assert resolver.by_id(1) == SCHEMA


def test_unknown_guid_is_unknown(resolver: RegistryResolver) -> None:
    with pytest.raises(UnknownSchema):
        resolver.by_guid(b"\x01" * 16)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_failing_registry_is_retryable_and_not_cached(
    status: int, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    registry.add(SCHEMA)
    registry.fail_with = status
    with pytest.raises(RetryableError, match=str(status)):
        resolver.by_id(1)
    registry.fail_with = None
    assert resolver.by_id(1) == SCHEMA


def test_unreachable_registry_is_retryable() -> None:
    with running_registry() as registry:
        gone = settings(registry)
    with (
        closing(RegistryResolver(gone)) as resolver,
        pytest.raises(RetryableError, match="no usable answer"),
    ):
        resolver.by_id(1)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_fatal(
    status: int, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    registry.fail_with = status
    with pytest.raises(FatalError):
        resolver.by_id(1)


@pytest.mark.parametrize(
    ("schema", "schema_type"),
    [("message T {}", "PROTOBUF"), ("not json", "AVRO"), ('{"type": "record"}', "AVRO")],
)
def test_schema_that_is_not_avro_is_unknown(
    schema: str, schema_type: str, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    schema_id, _ = registry.add(schema, schema_type)
    with pytest.raises(UnknownSchema):
        resolver.by_id(schema_id)


def test_registering_is_idempotent_and_guards_the_subject(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    schema_id = resolver.register("fraud-scores-value", SCHEMA)
    assert resolver.register("fraud-scores-value", SCHEMA) == schema_id
    assert registry.levels == {"fraud-scores-value": "BACKWARD"}
    assert resolver.by_id(schema_id) is SCHEMA


def test_existing_compatibility_level_is_not_changed(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    registry.levels["fraud-scores-value"] = "FULL"
    resolver.register("fraud-scores-value", SCHEMA)
    assert registry.levels == {"fraud-scores-value": "FULL"}


def test_incompatible_schema_is_fatal(registry: HttpRegistry, resolver: RegistryResolver) -> None:
    resolver.register("fraud-scores-value", SCHEMA)
    with pytest.raises(FatalError, match="incompatible"):
        resolver.register("fraud-scores-value", load_schema("fraud_label"))


def test_credentials_are_sent_and_never_shown(registry: HttpRegistry) -> None:
    secret = settings(registry, "scorer:hush")
    assert register_schema(secret, "transactions", SCHEMA) == 1
    assert all(header and header.startswith("Basic ") for header in registry.authorizations)
    registry.fail_with = 401
    with pytest.raises(FatalError) as caught:
        register_schema(secret, "transactions", SCHEMA)
    assert "hush" not in str(caught.value)


def test_topic_without_a_registry_has_no_schema_id() -> None:
    assert register_schema(load_settings(RegistrySettings), "transactions", SCHEMA) is None
