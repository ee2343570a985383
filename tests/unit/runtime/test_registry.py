"""The registry's resolver, without requests to a registry."""

from __future__ import annotations

import pytest

from schemas.contracts import load_schema, schema_fingerprint
from schemas.resolver import LocalSchemas, UnknownSchema
from stream_scorer.errors import SettingsError
from stream_scorer.runtime.registry import RegistryResolver, open_resolver, using_resolver
from stream_scorer.runtime.settings import RegistrySettings, load_settings

NOBODY = "http://127.0.0.1:1"


def settings(url: str | None) -> RegistrySettings:
    return load_settings(RegistrySettings, {"schema_registry_url": url})


def test_without_a_registry_only_local_schemas_are_known() -> None:
    resolver = open_resolver(settings(None), "fraud_score")
    assert isinstance(resolver, LocalSchemas)
    schema = load_schema("fraud_score")
    assert resolver.by_fingerprint(schema_fingerprint(schema)) == schema
    with pytest.raises(UnknownSchema, match="no schema registry is configured"):
        resolver.by_id(1)


@pytest.mark.parametrize("schema_id", [-1, 2**31, 2**32 - 1])
def test_invalid_id_is_unknown_without_a_request(schema_id: int) -> None:
    with using_resolver(settings(NOBODY)) as resolver, pytest.raises(UnknownSchema):
        resolver.by_id(schema_id)


def test_fingerprints_are_local_with_a_registry_too() -> None:
    schema = load_schema("transaction")
    with using_resolver(settings(NOBODY)) as resolver:
        assert resolver.by_fingerprint(schema_fingerprint(schema)) == schema
        with pytest.raises(UnknownSchema):
            resolver.by_fingerprint(b"\x00" * 8)


@pytest.mark.parametrize("url", ["registry:8081", "ftp://registry"])
def test_invalid_url_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_URL"):
        RegistryResolver(settings(url))
