"""The Schema Registry over TLS with a password and a certificate from an unknown authority."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schemas.contracts import load_schema
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.settings import RegistrySettings, load_settings
from tests.support.http_registry import HttpRegistry, running_registry
from tests.support.kafka.pki import Authority

PASSWORD = "correct-horse-battery"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def registry(authority: Authority) -> Iterator[HttpRegistry]:
    with running_registry(authority.issue("registry"), f"scorer:{PASSWORD}") as registry:
        yield registry


def open_resolver(url: str, password: str = PASSWORD) -> RegistryResolver:
    given = {
        "schema_registry_url": url,
        "schema_registry_basic_auth_user_info": f"scorer:{password}",
    }
    return RegistryResolver(load_settings(RegistrySettings, given))


def test_trusted_registry_returns_schemas_to_authorized_clients(
    registry: HttpRegistry, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = load_schema("transaction")
    schema_id, _ = registry.add(schema)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with closing(open_resolver(registry.url)) as resolver:
        resolver.ping()
        assert resolver.by_id(schema_id) == schema


def test_wrong_password_is_fatal_and_names_the_setting(
    registry: HttpRegistry, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with (
        closing(open_resolver(registry.url, "guessed-horse")) as resolver,
        pytest.raises(FatalError, match="SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO") as caught,
    ):
        resolver.ping()
    assert "guessed-horse" not in str(caught.value)


def test_unknown_authority_is_refused_and_the_fix_is_named(
    registry: HttpRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with (
        closing(open_resolver(registry.url)) as resolver,
        pytest.raises(RetryableError, match="set SSL_CERT_FILE") as caught,
    ):
        resolver.ping()
    assert PASSWORD not in str(caught.value)
    assert registry.authorizations == []  # no untrusted server saw the password
    other = Authority(tmp_path / "other", "another authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.path))
    with (
        closing(open_resolver(registry.url)) as resolver,
        pytest.raises(RetryableError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        resolver.ping()


def test_password_in_the_address_is_not_shown(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with running_registry() as gone:
        address = gone.url.removeprefix("http://")
    # The settings refuse it; the client would accept it.
    settings = RegistrySettings.model_construct(
        schema_registry_url=f"http://scorer:{PASSWORD}@{address}",
        schema_registry_basic_auth_user_info=None,
    )
    with closing(RegistryResolver(settings)) as resolver, pytest.raises(RetryableError) as caught:
        resolver.ping()
    assert PASSWORD not in str(caught.value)
