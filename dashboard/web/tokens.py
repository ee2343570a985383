"""The tokens file: who may look, as hashes."""

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
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LOOK_SECONDS: Final = 2.0  # a removed token stops working within this


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file."""

    identity: Identity
    digest: str


def make_token(name: str, role: str) -> tuple[str, str]:
    """A fresh token and its line for the tokens file.

    Raises:
        SettingsError: the name or role cannot stand in the file.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"the name {name!r} must be 1-64 letters, digits or . _ @ -")
    if role not in ROLES:
        raise SettingsError(f"the role {role!r} is none of {', '.join(ROLES)}")
    token = secrets.token_urlsafe(32)
    return token, f"{name}:{role}:{hash_token(token)}"


def hash_token(token: str) -> str:
    """SHA-256 in hex; enough for tokens of 256 random bits, which nobody can guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def parse_tokens(text: str, where: str) -> dict[str, Entry]:
    """Entries by name; blank lines and those starting with ``#`` are skipped.

    Raises:
        SettingsError: every faulty line, with its number and without its content.
    """
    entries: dict[str, Entry] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        role, _, digest = rest.partition(":")
        if not _NAME.fullmatch(name) or role not in ROLES or not _HASH.fullmatch(digest):
            faults.append(f"{where}:{number}: expected name:role:sha256 in lower-case hex")
        elif name in entries:
            faults.append(f"{where}:{number}: {name} is there twice")
        else:
            entries[name] = Entry(Identity(name, role), digest)
    if faults:
        raise SettingsError("\n".join(faults))
    return entries


class TokensFile:
    """The entries of a file, read again when it changes; a broken change keeps the old ones."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        try:
            self._stamp = self._look()
            self._entries = parse_tokens(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"DASHBOARD_TOKENS_FILE={path}: {error}") from error
        self._looked_at = clock()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries by name, as of a moment ago."""
        if self._clock() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = self._clock()
            self._refresh()
        return self._entries

    def find(self, token: str) -> Entry | None:
        """The entry of a token; takes the same time wherever it stands."""
        digest = hash_token(token)
        found = None
        for entry in self.entries.values():
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return found

    def _refresh(self) -> None:
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._entries = parse_tokens(self._path.read_text(encoding="utf-8"), str(self._path))
        except (OSError, UnicodeDecodeError, SettingsError) as error:
            log.error("the tokens file cannot be read, the tokens known so far stay: %s", error)

    def _look(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size
