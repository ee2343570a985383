"""Seals short values that travel through the browser: sessions and list cursors."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Any, Final

import orjson

from stream_scorer.errors import SettingsError

_KEY_BYTES: Final = 32
_MARK_BYTES: Final = 16  # 128 bits: nobody guesses one


class Sealer:
    """Signs JSON values for one purpose each; what was altered does not open."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, purpose: str, value: Any) -> str:
        """The value as URL-safe text with its signature."""
        body = orjson.dumps(value)
        return base64.urlsafe_b64encode(self._mark(purpose, body) + body).rstrip(b"=").decode()

    def unseal(self, purpose: str, text: str) -> Any:
        """The value; None if this text was not sealed here for this purpose."""
        try:
            raw = base64.b64decode(
                text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, UnicodeEncodeError, ValueError):
            return None
        mark, body = raw[:_MARK_BYTES], raw[_MARK_BYTES:]
        if not hmac.compare_digest(mark, self._mark(purpose, body)):
            return None
        return orjson.loads(body)

    def _mark(self, purpose: str, body: bytes) -> bytes:
        message = purpose.encode() + b"\0" + body
        return hmac.new(self._key, message, hashlib.sha256).digest()[:_MARK_BYTES]


def read_shared_key(path: Path) -> bytes:
    """The key in a file that replicas share, whatever its length beyond the least.

    Raises:
        SettingsError: it cannot be read, or is short enough to guess.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"DASHBOARD_SEAL_KEY_FILE={path}: {error}") from error
    if len(secret) < _KEY_BYTES:
        raise SettingsError(f"DASHBOARD_SEAL_KEY_FILE={path}: at least {_KEY_BYTES} bytes, please")
    return hashlib.sha256(secret).digest()


def load_key(path: Path) -> bytes:
    """The key in a file only this user can read; made where there is none, so that sessions
    and cursors outlive a restart.
    """  # noqa: D205 - one sentence
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
        path.unlink()
    key = secrets.token_bytes(_KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key
