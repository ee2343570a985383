"""Credentials in an address: refused in settings, and masked wherever an address is shown."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import EndpointConnectionError

from dashboard.settings import DashboardSettings
from stream_scorer.errors import SettingsError, StoreError, UsageError
from stream_scorer.model.store.opening import open_store
from stream_scorer.model.store.s3_store import S3Store
from stream_scorer.runtime import s3
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.settings import RegistrySettings, load_settings
from stream_scorer.settings import ScorerSettings
from tests.support.stores import store_settings

SECRET = "s3cr3t"
NOBODY = "127.0.0.1:1"
WITH_SECRET = [
    f"http://user:{SECRET}@{NOBODY}",
    f"user:{SECRET}@{NOBODY}",
    f"ftp://user:{SECRET}@host",
    f"http://{SECRET}@host",
    f"http://user:p/{SECRET}@host",
    f"http://user:p@{SECRET}@host",
    f"user:{SECRET}@bad url",
]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:secret@host:1/path", "http://****@host:1/path"),
        ("user:secret@host", "****@host"),
        ("http://user:p@ss/word@host", "http://****@host"),
        ('to "http://u:s@h/": refused, http://h/', 'to "http://****@h/": refused, http://h/'),
        ("(ConnectError:https://u:s@h)", "(ConnectError:https://****@h)"),
        ("http://host/path is not reachable", "http://host/path is not reachable"),
        ("", ""),
    ],
)
def test_everything_before_the_host_is_masked(text: str, masked: str) -> None:
    assert mask_userinfo(text) == masked


@pytest.mark.parametrize("text", ["//" * 500_000 + "@", "a" * 1_000_000 + "@ ", "@" * 1_000_000])
def test_masking_time_is_proportional_to_the_text(text: str) -> None:
    started = time.process_time()
    mask_userinfo(text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("settings", [ScorerSettings, DashboardSettings])
@pytest.mark.parametrize("name", ["aws_endpoint_url_s3", "schema_registry_url", "s3_bucket"])
@pytest.mark.parametrize("value", WITH_SECRET)
def test_address_with_credentials_is_refused_and_not_shown(
    settings: type[ScorerSettings | DashboardSettings], name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(settings, {name: value})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{name.upper()}=****: an address must not contain credentials")
    assert SECRET not in line
    assert ("AWS_SECRET_ACCESS_KEY" in line) != ("BASIC_AUTH_USER_INFO" in line)


@pytest.mark.parametrize("uri", [f"s3://key:{SECRET}@bucket/a", f"http://key:{SECRET}@host/bucket"])
def test_store_uri_with_credentials_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_STORE_URI") as caught:
        store_settings(model_store_uri=uri)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://bucket/team@site", "file:///home/me@work/store"])
def test_at_sign_in_a_path_is_allowed(uri: str) -> None:
    assert store_settings(model_store_uri=uri).store_uri == uri


@pytest.fixture
def endpoint_of_boto3(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An endpoint from a variable that only boto3 reads."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@{NOBODY}")
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    return monkeypatch


def test_unreachable_store_is_named_without_its_credentials(
    endpoint_of_boto3: pytest.MonkeyPatch,
) -> None:
    def fail(request: AWSPreparedRequest, **_: Any) -> None:
        raise EndpointConnectionError(endpoint_url=request.url)

    client = s3.open_client(store_settings())
    client.meta.events.register("before-send.s3", fail)
    with pytest.raises(StoreError, match="is not reachable") as caught:
        S3Store(client, "bucket").current()
    assert SECRET not in str(caught.value)
    assert f"http://****@{NOBODY}" in str(caught.value)
    endpoint_of_boto3.setattr(s3, "open_client", lambda _: client)
    with pytest.raises(UsageError, match="cannot read s3://bucket/rows") as unread:
        s3.open_stream("s3://bucket/rows.csv", store_settings())
    assert SECRET not in str(unread.value)


def test_invalid_endpoint_is_named_without_its_credentials(
    endpoint_of_boto3: pytest.MonkeyPatch,
) -> None:
    endpoint_of_boto3.setenv("AWS_ENDPOINT_URL", f"user:{SECRET}@bad url")
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL_S3") as caught:
        open_store(store_settings(model_store_uri="s3://bucket"))
    assert SECRET not in str(caught.value)


def test_registry_is_named_without_its_credentials() -> None:
    for url in (f"ftp://user:{SECRET}@host", f"user:{SECRET}@host"):
        # The settings refuse these addresses.
        settings = RegistrySettings.model_construct(
            schema_registry_url=url, schema_registry_basic_auth_user_info=None
        )
        with pytest.raises(SettingsError, match="SCHEMA_REGISTRY_URL") as caught:
            RegistryResolver(settings)
        assert SECRET not in str(caught.value)
