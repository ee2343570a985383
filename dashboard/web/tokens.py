"""The tokens file: users, their roles, and the hashes of their tokens."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.errors import SettingsError

log = logging.getLogger(__name__)

ROLES: Final = ("viewer", "analyst", "lead", "ops")
WEBHOOK: Final = "webhook"
"""The role of tokens in a file of their own, which may request trainings and nothing else."""

WEBHOOK_ROUTES: Final = frozenset(
    {("POST", "/api/v1/trainings"), ("POST", "/api/v1/trainings/alertmanager")}
)
"""Methods and paths that accept those tokens."""

LONG_CHARS: Final = 32
"""A token of this length cannot be guessed. Ours have 43 characters, of 256 random bits."""

_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CHECK_SECONDS: Final = 2.0  # a removed token stops working within this time


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated user."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file."""

    identity: Identity
    digest: str


def make_token(name: str, role: str) -> tuple[str, str]:
    """A new token and its line for the tokens file.

    Raises:
        SettingsError: the name or the role is not valid.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"the name {name!r} must have 1-64 characters of A-Z a-z 0-9 . _ @ -")
    if role not in (*ROLES, WEBHOOK):
        raise SettingsError(f"the role {role!r} must be one of {', '.join((*ROLES, WEBHOOK))}")
    token = secrets.token_urlsafe(32)
    return token, f"{name}:{role}:{hash_token(token)}"


def hash_token(token: str) -> str:
    """SHA-256 in hex. Tokens have 256 random bits, so no slower hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def parse_tokens(text: str, where: str, roles: tuple[str, ...] = ROLES) -> dict[str, Entry]:
    """The entries by name. Blank lines and lines starting with ``#`` are skipped.

    Raises:
        SettingsError: with the number of each invalid line, but not its content.
    """
    entries: dict[str, Entry] = {}
    faults: list[str] = []
    kinds = "" if roles == ROLES else f", with the role {' or '.join(roles)}"
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        role, _, digest = rest.partition(":")
        if not _NAME.fullmatch(name) or role not in roles or not _HASH.fullmatch(digest):
            faults.append(f"{where}:{number}: expected name:role:sha256 in lower-case hex{kinds}")
        elif name in entries:
            faults.append(f"{where}:{number}: duplicate name {name}")
        else:
            entries[name] = Entry(Identity(name, role), digest)
    if faults:
        raise SettingsError("\n".join(faults))
    return entries


class TokensFile:
    """The entries of a file, reloaded when it changes. An invalid change keeps the old entries."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        roles: tuple[str, ...] = ROLES,
        setting: str = "DASHBOARD_TOKENS_FILE",
    ) -> None:
        self._path = path
        self._clock = clock
        self._roles = roles
        try:
            self._stamp = self._stat()
            self._entries = self._parse()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{setting}={path}: {error}") from error
        self._checked_at = clock()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries by name, at most ``_CHECK_SECONDS`` old."""
        if self._clock() - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = self._clock()
            self._refresh()
        return self._entries

    def find(self, token: str) -> Entry | None:
        """The entry of a token. Takes the same time wherever the entry is in the file."""
        digest = hash_token(token)
        found = None
        for entry in self.entries.values():
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return found

    def _refresh(self) -> None:
        try:
            stamp = self._stat()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._entries = self._parse()
        except (OSError, UnicodeDecodeError, SettingsError) as error:
            log.error("cannot reload the tokens file; keeping the current tokens: %s", error)

    def _parse(self) -> dict[str, Entry]:
        return parse_tokens(self._path.read_text(encoding="utf-8"), str(self._path), self._roles)

    def _stat(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size


class WebhookTokens:
    """The tokens that request trainings. They are valid on :data:`WEBHOOK_ROUTES` alone.

    Args:
        path: of their file; None: there are none.
    """

    def __init__(self, path: Path | None) -> None:
        setting = "TRAINING_WEBHOOK_TOKEN_FILE"
        self._file = None if path is None else TokensFile(path, roles=(WEBHOOK,), setting=setting)

    def find_caller(self, method: str, path: str, token: str | None) -> Identity | None:
        """The owner of a token, on those routes."""
        if self._file is None or not token or (method, path) not in WEBHOOK_ROUTES:
            return None
        entry = self._file.find(token)
        return entry.identity if entry else None
