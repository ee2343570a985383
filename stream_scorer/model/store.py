"""The port to the artifact store: immutable versions, one pointer, rejection markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from stream_scorer.errors import SettingsError
from stream_scorer.model.promotions import Promotion, predecessors
from stream_scorer.model.store_layout import version_number
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class Pointer:
    """The promoted version, as it was when it was read."""

    version: str
    token: str
    """Opaque; hand the pointer back to :meth:`ArtifactStore.promote` for the compare-and-set."""


class ArtifactStore(Protocol):
    """Where bundles are published and found.

    Every method raises StoreError, with a message for people, where the store cannot be reached
    or refuses. Safe for use from several threads and processes at once.
    """

    @property
    def where(self) -> str:
        """The store's URI."""

    def current(self) -> Pointer | None:
        """The promoted version, or None before the first promotion. Cheap: made to be polled.

        Raises:
            StoreError: the pointer holds no version.
        """

    def versions(self) -> list[str]:
        """The complete versions, oldest first."""

    def fetch(self, version: str) -> dict[str, bytes]:
        """The files of a version by name; only their sizes have been checked.

        Raises:
            StoreError: the version is unknown or incomplete, or a file is too large.
        """

    def publish(self, model: bytes, rest: Callable[[str], Mapping[str, bytes]]) -> str:
        """Write a new version; nothing that is there is ever changed.

        ``model.pkl`` claims the number. ``rest`` is then called with the version and returns
        preprocessor.pkl, metadata.json and perhaps metadata.json.sig. A publisher that dies half
        way leaves an incomplete version, which is a gap and nothing more.

        Returns:
            The new version.
        """

    def promote(
        self, version: str, expected: Pointer | None, *, is_rollback: bool = False
    ) -> Pointer:
        """Point to ``version`` if the pointer still is ``expected`` (None: if there is none).

        The history says so before the pointer moves.

        Raises:
            StoreConflict: somebody else moved the pointer in the meantime.
            StoreError: the version is unknown or incomplete.
        """

    def rejected(self) -> dict[str, dict[str, Any]]:
        """The versions marked as rejected, with the reasons."""

    def reject(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Mark a version; False if it was marked before (the first reason stays)."""

    def accepted(self) -> set[str]:
        """The versions that have passed their probation, and are not rejected.

        No guard rejects one of these. A guard that tripped in the moment another scorer said that
        the version is good may mark it all the same; then there are both markers, and the
        rejection counts, here as in :meth:`rejected`, until :meth:`readmit` lifts it.
        """

    def accept(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Say that a version has passed; False if that was known."""

    def readmit(self, version: str, reason: Mapping[str, Any]) -> bool:
        """Accept a version and lift its rejection; False if it was not rejected."""

    def history(self) -> list[Promotion]:
        """The promotions there were, oldest first."""


@dataclass(frozen=True, slots=True)
class Succession:
    """The versions to go back to from the pointer's, the last promoted first.

    A store that was filled before there was a history has none (``is_recorded`` is False); then
    they are the older numbers, and some may never have been promoted.
    """

    versions: tuple[str, ...]
    is_recorded: bool


def find_succession(store: ArtifactStore, pointer: str, rejected: Mapping[str, Any]) -> Succession:
    """Where to go back to from version ``pointer``; rejected versions are left out.

    Raises:
        StoreError: the store did not answer.
    """
    promotions = store.history()
    complete = set(store.versions())
    if promotions:
        found = [v for v in predecessors(promotions, pointer) if v in complete]
    else:
        older = (v for v in complete if version_number(v) < version_number(pointer))
        found = sorted(older, key=version_number, reverse=True)
    return Succession(tuple(v for v in found if v not in rejected), bool(promotions))


def failed_its_gate(metadata: Mapping[str, Any]) -> bool:
    """Whether the trainer published a version without promoting it, because it was worse."""
    gate = metadata.get("gate")
    return isinstance(gate, dict) and gate.get("passed") is False


def open_store(settings: StoreSettings) -> ArtifactStore:
    """The store that ``MODEL_STORE_URI`` names; nothing is touched before its first use.

    Raises:
        SettingsError: the URI names no folder or bucket.
    """
    parts = urlsplit(settings.store_uri)
    if parts.query or parts.fragment:
        raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r}: '?' and '#' are not allowed")
    if parts.scheme == "s3":
        from stream_scorer.model.s3_store import S3Store
        from stream_scorer.runtime.s3 import open_client

        if not parts.netloc:
            raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r} names no bucket")
        try:
            client = open_client(settings)
        except ValueError as error:  # botocore's word for an endpoint that is no URL
            given = f"AWS_ENDPOINT_URL_S3={settings.aws_endpoint_url_s3!r}"
            # The error may quote AWS_ENDPOINT_URL, which boto3 reads by itself.
            raise SettingsError(f"{given}: {mask_userinfo(str(error))}") from error
        return S3Store(client, parts.netloc, parts.path.strip("/"))
    from stream_scorer.model.file_store import FileStore

    if parts.scheme != "file" or parts.netloc or parts.path in ("", "/"):
        raise SettingsError(f"MODEL_STORE_URI={settings.store_uri!r} is not file:///dir")
    return FileStore(Path(unquote(parts.path)))
