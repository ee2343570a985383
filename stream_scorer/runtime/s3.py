"""S3 access: how the client is built, and how URIs are opened for reading."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

from stream_scorer.errors import UsageError
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.names import check_bucket
from stream_scorer.runtime.settings import StoreSettings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_SECONDS: Final = 5.0
"""Short, so that a store that does not answer is reported quickly; the caller's loop retries."""

READ_TIMEOUT_SECONDS: Final = 30.0
"""Per socket read, not per object: a large object takes many reads."""

ATTEMPTS: Final = 4
"""In total; botocore backs off between attempts and retries only what is safe to retry."""

READ_BLOCK_BYTES: Final = 8 * 1024 * 1024
"""One ranged request reads this much of a streamed object; a failed request is retried."""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

FALLBACK_REGION: Final = "us-east-1"
"""Request signing needs a region; stores other than AWS accept any."""


def open_client(settings: StoreSettings) -> S3Client:
    """An S3 client for the store's endpoint and region; boto3 finds the credentials."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        # Stores other than AWS often support neither the newer checksums nor bucket host names.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if settings.aws_endpoint_url_s3 else {},
    )
    return boto3.client(
        "s3",
        endpoint_url=settings.aws_endpoint_url_s3,
        region_name=settings.region or FALLBACK_REGION,
        config=config,
    )


def split_s3_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/some/key`` as ``("bucket", "some/key")``.

    Raises:
        UsageError: it is not an S3 URI, or has no bucket.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{uri!r} is not of the form s3://bucket/key")
    try:
        check_bucket(bucket)
    except ValueError as error:
        raise UsageError(f"{uri!r}: {error}") from None
    return bucket, key


def open_stream(uri: str, settings: StoreSettings | None = None) -> BinaryIO:
    """Open a path, a ``file:///`` URI or an ``s3://`` object for streaming.

    Raises:
        UsageError: it cannot be read; the message has the URI.
    """
    path = local_path(uri)
    if path is None:
        return _open_object(uri, open_client(settings or load_settings(StoreSettings)))
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {uri}: {error.strerror}") from error


def local_path(uri: str) -> Path | None:
    """The path of a path or a ``file:///`` URI; None for an ``s3://`` object.

    Raises:
        UsageError: it is a URI of another kind.
    """
    if uri.startswith("s3://"):
        return None
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    if _SCHEME.match(uri):
        raise UsageError(f"cannot read {uri}: use a path, file:///path or s3://bucket/key")
    return Path(uri)


def _open_object(uri: str, client: S3Client) -> BinaryIO:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = split_s3_uri(uri)
    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"cannot read {uri}: {mask_userinfo(str(error))}") from error

    def broken(first: int, error: Exception) -> str:
        return f"cannot read {uri} at byte {first}: {mask_userinfo(str(error))}"

    def fetch(first: int, last: int) -> bytes:
        # IfMatch: if the object is replaced halfway, that is an error, never a mix of both.
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                answer = client.get_object(
                    Bucket=bucket, Key=key, Range=f"bytes={first}-{last}", IfMatch=head["ETag"]
                )
                return answer["Body"].read()
            except ClientError as error:
                raise UsageError(broken(first, error)) from error
            except BotoCoreError as error:  # the connection broke while reading the body
                if not attempts_left:
                    raise UsageError(broken(first, error)) from error
        raise AssertionError("unreachable")

    stream = _RangedObject(uri, fetch, head["ContentLength"])
    return io.BufferedReader(stream, READ_BLOCK_BYTES)


class _RangedObject(io.RawIOBase):
    """An object read with ranged requests; ``fetch`` takes the first and last byte."""

    def __init__(self, name: str, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self.name = name
        self._fetch = fetch
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        block = self._fetch(self._at, self._at + count - 1)
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)
