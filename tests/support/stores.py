"""Artifact stores for tests: places to open, and small bundles."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from mypy_boto3_s3 import S3Client
from pydantic_settings import SettingsConfigDict

from stream_scorer.model.store.objects import Objects
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.store.s3_store import S3Objects, S3Store
from stream_scorer.runtime.s3 import open_client
from stream_scorer.runtime.settings import StoreSettings, load_settings


class _ArgumentSettings(StoreSettings):
    """Settings that ignore the environment."""

    model_config = SettingsConfigDict(env_prefix="UNSET_", extra="ignore", frozen=True)


@dataclass(frozen=True)
class Place:
    """One location of a store, and how to open it again, as another process would."""

    open: Callable[[], ArtifactStore]
    objects: Objects


@dataclass(frozen=True)
class S3Place(Place):
    """A new bucket, with its client."""

    client: S3Client


def store_settings(**given: Any) -> StoreSettings:
    return load_settings(_ArgumentSettings, given)


def s3_client(endpoint: str) -> S3Client:
    return open_client(store_settings(aws_endpoint_url_s3=endpoint))


def s3_place(endpoint: str) -> S3Place:
    client = s3_client(endpoint)
    bucket = f"models-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    return S3Place(
        open=lambda: S3Store(client, bucket, "some/prefix"),
        objects=S3Objects(client, bucket, "some/prefix"),
        client=client,
    )


def rest(version: str, **more: bytes) -> dict[str, bytes]:
    metadata = json.dumps({"version": version}).encode()
    return {"metadata.json": metadata, "preprocessor.pkl": b"p " + version.encode()} | more


def signed_rest(version: str) -> dict[str, bytes]:
    return rest(version) | {"metadata.json.sig": b"signature"}


def crash(version: str) -> dict[str, bytes]:
    """Simulates a publisher that dies after it has claimed its number."""
    raise ConnectionResetError(version)


def publish_half(store: ArtifactStore) -> None:
    with pytest.raises(ConnectionResetError):
        store.publish(b"half", crash)


def latest_copy(objects: Objects) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key in objects.keys("models/latest/"):
        content = objects.read(key, 1000)
        assert content is not None
        found[key.removeprefix("models/latest/")] = content.content
    return found
