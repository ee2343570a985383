"""Opens the artifact store named by a URI, and the card histories in it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from stream_scorer.errors import SettingsError
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.layout_store import LayoutStore
from stream_scorer.model.store.objects import Objects
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.settings import StoreSettings


def open_store(settings: StoreSettings) -> ArtifactStore:
    """The store that ``MODEL_STORE_URI`` names; it is not accessed before its first use.

    Raises:
        SettingsError: the URI does not name a folder or bucket.
    """
    objects, is_trusted = _open_objects(settings)
    return LayoutStore(objects, is_trusted=is_trusted)


def open_history_store(settings: StoreSettings) -> HistoryStore:
    """The card histories in that store; it is not accessed before its first use.

    Raises:
        SettingsError: the URI does not name a folder or bucket.
    """
    objects, is_trusted = _open_objects(settings)
    return HistoryStore(objects, is_trusted=is_trusted)


def open_quality_objects(settings: StoreSettings) -> Objects:
    """The storage of the last result of live quality; not accessed before its first use.

    Raises:
        SettingsError: the URI does not name a folder or bucket.
    """
    return _open_objects(settings)[0]


def _open_objects(settings: StoreSettings) -> tuple[Objects, bool]:
    """The storage, and whether its conditional writes need not be tried first."""
    parts = urlsplit(settings.store_uri)
    if parts.query or parts.fragment:
        raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r}: '?' and '#' are not allowed")
    if parts.scheme == "s3":
        from stream_scorer.model.store.s3_store import S3Objects
        from stream_scorer.runtime.s3 import open_client

        if not parts.netloc:
            raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r} has no bucket name")
        try:
            client = open_client(settings)
        except ValueError as error:  # botocore raises this for an endpoint that is not a URL
            given = f"AWS_ENDPOINT_URL_S3={settings.aws_endpoint_url_s3!r}"
            # The error may quote AWS_ENDPOINT_URL, which boto3 reads itself.
            raise SettingsError(f"{given}: {mask_userinfo(str(error))}") from error
        return S3Objects(client, parts.netloc, parts.path.strip("/")), False
    from stream_scorer.model.store.file_store import FileObjects

    if parts.scheme != "file" or parts.netloc or parts.path in ("", "/"):
        raise SettingsError(
            f"MODEL_STORE_URI={settings.store_uri!r} is not of the form file:///dir"
        )
    # Hard links and a lock are the conditions.
    return FileObjects(Path(unquote(parts.path))), True
