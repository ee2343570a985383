"""The artifact store in a bucket, on any S3 API that supports conditional writes."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.layout_store import LayoutStore
from stream_scorer.model.store.names import KEYS_MAX
from stream_scorer.model.store.objects import StoredObject
from stream_scorer.runtime.masking import mask_userinfo

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectRequestTypeDef

log = logging.getLogger(__name__)

CONFLICT_ATTEMPTS: Final = 5
"""409 means that two conditional writes collided. S3 does not say which won and asks to retry."""

CONFLICT_WAIT_SECONDS: Final = 0.1
"""Doubled at each attempt, with jitter, so that the two writers do not collide again."""

READ_BLOCK_BYTES: Final = 1024 * 1024
READ_SECONDS: Final = 300.0
"""Per object: a server that sends a byte now and then must not block the watcher forever."""

_NOT_MODIFIED: Final = 304
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_PRECONDITION_FAILED: Final = 412
_RANGE_NOT_SATISFIABLE: Final = 416

_HINTS: Final = {
    "NoSuchBucket": "bucket {bucket!r} does not exist: create it, or correct MODEL_STORE_URI",
    "AccessDenied": "access denied: s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket "
    "are required (without s3:ListBucket, a missing object gives this error too)",
    "InvalidAccessKeyId": "the access key does not exist: check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "NotImplemented": "the server does not support conditional writes, which this store needs",
}
_HINTS_BY_STATUS: Final = {403: "AccessDenied", 301: "PermanentRedirect", 501: "NotImplemented"}


class S3Store(LayoutStore):
    """The store under ``prefix`` of ``bucket``."""

    def __init__(self, client: S3Client, bucket: str, prefix: str = "") -> None:
        super().__init__(S3Objects(client, bucket, prefix))


class S3Objects:
    """Objects of a bucket; tokens are ETags, which only S3 interprets."""

    def __init__(self, client: S3Client, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @property
    def where(self) -> str:
        """The bucket and prefix as a URI."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(
        self, key: str, max_bytes: int, known: StoredObject | None = None
    ) -> StoredObject | None:
        """See the port; an unchanged object costs an empty response (304)."""
        target = {"Bucket": self._bucket, "Key": self._prefix + key}
        condition = {} if known is None else {"IfNoneMatch": known.token}
        with self._described(key):
            try:
                answer = self._client.get_object(**target, **condition)  # type: ignore[arg-type]  # the stubs do not accept an unpacked dict
            except ClientError as error:
                if known is not None and _status(error) == _NOT_MODIFIED:
                    return known
                if _is_absent(error):
                    return None
                raise
            with contextlib.closing(answer["Body"]) as body:
                length = answer.get("ContentLength", 0)  # absent in a chunked response
                if length > max_bytes:
                    raise StoreError(
                        f"{self.where}: {key} has {length} bytes; the limit is {max_bytes}"
                    )
                return StoredObject(self._body(key, body, max_bytes), answer["ETag"])

    def read_head(self, key: str, count: int) -> bytes | None:
        """See the port; a server that ignores the range is not read any further."""
        wanted = f"bytes=0-{count - 1}"
        with self._described(key):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=wanted
                )
            except ClientError as error:
                if _is_absent(error):
                    return None
                if _status(error) == _RANGE_NOT_SATISFIABLE:  # the object is empty
                    return b""
                raise
            with contextlib.closing(answer["Body"]) as body:
                return self._blocks(key, body, count)[:count]

    def create(self, key: str, content: bytes) -> bool:
        """See the port: ``If-None-Match: *``."""
        return self._put_if(key, content, None) is not None

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        """See the port: ``If-Match``, or ``If-None-Match: *`` for the first write."""
        token = self._put_if(key, content, expected)
        if token is None:
            raise StoreConflict(f"{self.where}: {key} was changed by another process")
        return token

    def overwrite(self, key: str, content: bytes) -> None:
        """See the port."""
        with self._described(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def remove(self, key: str) -> None:
        """See the port."""
        with self._described(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def keys(self, prefix: str) -> list[str]:
        """See the port."""
        found: list[str] = []
        with self._described(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                found += [item["Key"] for item in page.get("Contents", [])]
                if len(found) > KEYS_MAX:
                    raise StoreError(f"{self.where}: more than {KEYS_MAX} objects in {prefix}")
        return [key.removeprefix(self._prefix) for key in found]

    def _body(self, key: str, body: StreamingBody, max_bytes: int) -> bytes:
        """The bytes of a response, whatever length it announces.

        botocore itself raises if the body ends before its announced length.
        """
        content = self._blocks(key, body, max_bytes + 1)
        if len(content) > max_bytes:
            raise StoreError(f"{self.where}: {key} has more than {max_bytes} bytes")
        return content

    def _blocks(self, key: str, body: StreamingBody, count: int) -> bytes:
        """The first ``count`` bytes of a response or a few more; all if it has fewer."""
        content = bytearray()
        deadline = time.monotonic() + READ_SECONDS
        while len(content) < count and (block := body.read(READ_BLOCK_BYTES)):
            content += block
            if time.monotonic() > deadline:
                raise StoreError(f"{self.where}: reading {key} took more than {READ_SECONDS:g} s")
        return bytes(content)

    def _put_if(self, key: str, content: bytes, expected: str | None) -> str | None:
        """Write if the ETag is still ``expected`` (None: absent); returns None if it is not."""
        request: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": self._prefix + key,
            "Body": content,
        }
        if expected is None:
            request["IfNoneMatch"] = "*"
        else:
            request["IfMatch"] = expected
        wait = CONFLICT_WAIT_SECONDS
        for _ in range(CONFLICT_ATTEMPTS):
            with self._described(key):
                try:
                    return self._client.put_object(**request)["ETag"]
                except ClientError as error:
                    if _status(error) != _CONFLICT:
                        return self._own_or_lost(key, content, error)
                    log.debug("conditional write of %s collided with another: %s", key, error)
            time.sleep(wait * random.uniform(0.5, 1.5))
            wait *= 2
        raise StoreConflict(
            f"{self.where}: {CONFLICT_ATTEMPTS} writes of {key} collided with other writers"
        )

    def _own_or_lost(self, key: str, content: bytes, error: ClientError) -> str | None:
        """Whether a refused conditional write was ours: its token if so, else None.

        botocore retries a request whose response was lost, and the retry then collides with the
        first attempt. So after a retry, an object with exactly this content is ours.
        """
        is_lost = _status(error) == _PRECONDITION_FAILED or _is_absent(error)
        if not is_lost:
            raise error
        if not error.response["ResponseMetadata"].get("RetryAttempts"):
            return None
        found = self.read(key, len(content))
        return found.token if found is not None and found.content == content else None

    @contextlib.contextmanager
    def _described(self, key: str) -> Iterator[None]:
        """Turn every botocore error into a StoreError that says what to do."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            hint = _HINTS.get(code) or _HINTS.get(_HINTS_BY_STATUS.get(_status(error), ""))
            text = hint.format(bucket=self._bucket) if hint else mask_userinfo(str(error))
            raise StoreError(f"{self.where}: {key}: {text}") from error
        except NoCredentialsError as error:
            raise StoreError(
                f"{self.where}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except (HTTPClientError, NoConnectionError) as error:
            # The endpoint may come from sources we do not read: AWS_ENDPOINT_URL, ~/.aws/config.
            why = mask_userinfo(f"{self._client.meta.endpoint_url} is not reachable: {error}")
            raise StoreError(f"{self.where}: {why}") from error
        except BotoCoreError as error:
            raise StoreError(f"{self.where}: {key}: {mask_userinfo(str(error))}") from error


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_absent(error: ClientError) -> bool:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return _status(error) == _NOT_FOUND and code != "NoSuchBucket"
