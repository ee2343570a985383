"""Opens the artifact store named by a URI."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from stream_scorer.errors import SettingsError
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.settings import StoreSettings


def open_store(settings: StoreSettings) -> ArtifactStore:
    """The store that ``MODEL_STORE_URI`` names; it is not accessed before its first use.

    Raises:
        SettingsError: the URI does not name a folder or bucket.
    """
    parts = urlsplit(settings.store_uri)
    if parts.query or parts.fragment:
        raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r}: '?' and '#' are not allowed")
    if parts.scheme == "s3":
        from stream_scorer.model.store.s3_store import S3Store
        from stream_scorer.runtime.s3 import open_client

        if not parts.netloc:
            raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r} has no bucket name")
        try:
            client = open_client(settings)
        except ValueError as error:  # botocore raises this for an endpoint that is not a URL
            given = f"AWS_ENDPOINT_URL_S3={settings.aws_endpoint_url_s3!r}"
            # The error may quote AWS_ENDPOINT_URL, which boto3 reads itself.
            raise SettingsError(f"{given}: {mask_userinfo(str(error))}") from error
        return S3Store(client, parts.netloc, parts.path.strip("/"))
    from stream_scorer.model.store.file_store import FileStore

    if parts.scheme != "file" or parts.netloc or parts.path in ("", "/"):
        raise SettingsError(
            f"MODEL_STORE_URI={settings.store_uri!r} is not of the form file:///dir"
        )
    return FileStore(Path(unquote(parts.path)))
