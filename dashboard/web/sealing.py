"""Signs short values that the client stores: sessions and list cursors."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path
from typing import Any, Final

import orjson

from stream_scorer.errors import SettingsError

log = logging.getLogger(__name__)

_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 16  # 128 bits, infeasible to guess


class Sealer:
    """Signs JSON values for one purpose each. An altered value is rejected.

    Args:
        key: signs.
        path: the file that has the key, if this dashboard made it itself.
    """

    def __init__(self, key: bytes, path: Path | None = None) -> None:
        self._key = key
        self._path = path

    @classmethod
    def from_own_key(cls, path: Path) -> Sealer:
        """With the key of a file that is made if there is none."""
        return cls(load_key(path), path)

    def restore_key(self) -> None:
        """Write the key again if its file is gone: a restart would end all sessions without it.

        Raises:
            OSError: it cannot be written.
        """
        if self._path is None or self._path.exists():
            return
        with contextlib.suppress(FileExistsError):  # another dashboard has made its own
            _write_key(self._path, self._key)
            log.warning("%s was deleted while the dashboard runs: it is written again", self._path)

    def seal(self, purpose: str, value: Any) -> str:
        """The value as URL-safe text with its signature."""
        body = orjson.dumps(value)
        return base64.urlsafe_b64encode(self._signature(purpose, body) + body).rstrip(b"=").decode()

    def unseal(self, purpose: str, text: str) -> Any:
        """The value. None if the text was not sealed with this key for this purpose."""
        try:
            raw = base64.b64decode(
                text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, UnicodeEncodeError, ValueError):
            return None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(purpose, body)):
            return None
        return orjson.loads(body)

    def _signature(self, purpose: str, body: bytes) -> bytes:
        message = purpose.encode() + b"\0" + body
        return hmac.new(self._key, message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def read_shared_key(path: Path) -> bytes:
    """The key in a file that replicas share.

    Raises:
        SettingsError: the file cannot be read, or has fewer than 32 bytes.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"DASHBOARD_SEAL_KEY_FILE={path}: {error}") from error
    if len(secret) < _KEY_BYTES:
        raise SettingsError(
            f"DASHBOARD_SEAL_KEY_FILE={path}: must have at least {_KEY_BYTES} bytes"
        )
    return hashlib.sha256(secret).digest()


def load_key(path: Path) -> bytes:
    """The key in a file that only this user can read. Generates the file if there is none.

    The file keeps sessions and cursors valid after a restart.
    """
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
        path.unlink()
    key = secrets.token_bytes(_KEY_BYTES)
    _write_key(path, key)
    return key


def _write_key(path: Path, key: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
