"""The challenger's pointer and its record, on top of any object storage."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.names import (
    CHALLENGER,
    CHALLENGES,
    NO_CHALLENGER,
    NUMBERS_END,
    SMALL_MAX_BYTES,
    history_number,
    is_version,
    parse_challenger,
)
from stream_scorer.model.store.objects import Objects, StoredObject
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.text import printable

READ_LAST: Final = 20
"""Records that are read; people look at the last few."""

CLAIM_ATTEMPTS: Final = 100
_TEXT_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class ChallengeRecord:
    """One move of the challenger; the texts are safe to show.

    Attributes:
        version: what scored in shadow from then on; None: nothing.
        previous: what did before.
        at: when, as ISO 8601.
        host: on which machine the command ran.
    """

    version: str | None
    previous: str | None
    at: str
    host: str


class ChallengeLog:
    """Moves ``manifests/challenger.txt``, and records each move in ``manifests/challenges/``."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._pointer: StoredObject | None = None

    def current(self) -> tuple[str | None, str | None]:
        """The version and the pointer's token; an unchanged pointer is not read again.

        Raises:
            StoreError: the store did not answer, or the pointer names no version.
        """
        self._pointer = found = self._objects.read(CHALLENGER, SMALL_MAX_BYTES, self._pointer)
        return (None, None) if found is None else (parse_challenger(found.content), found.token)

    def move(self, version: str | None, previous: str | None, token: str | None) -> str:
        """Record the move, then move the pointer; returns its new token.

        Raises:
            StoreConflict: the pointer is not the expected one.
        """
        record = self._append(version, previous)
        try:
            return self._objects.replace(CHALLENGER, (version or NO_CHALLENGER).encode(), token)
        except StoreConflict as error:
            with contextlib.suppress(StoreError):  # harmless if it stays
                self._objects.remove(record)
            raise StoreConflict(
                f"the challenger in {self._objects.where} is no longer {previous or 'none'}"
            ) from error

    def read(self) -> list[ChallengeRecord]:
        """The last moves in order; unreadable records are left out.

        Raises:
            StoreError: the store did not answer.
        """
        found = map(self._read, self._numbers()[-READ_LAST:])
        return [record for record in found if record is not None]

    def _append(self, version: str | None, previous: str | None) -> str:
        record = {
            "version": version,
            "previous": previous,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
        }
        content = json.dumps(record, indent=1).encode() + b"\n"
        first = max(self._numbers(), default=0) + 1
        for number in range(first, first + CLAIM_ATTEMPTS):
            if self._objects.create(_key(number), content):
                return _key(number)
        raise StoreConflict(f"{self._objects.where}: others took {CLAIM_ATTEMPTS} numbers in a row")

    def _numbers(self) -> list[int]:
        return sorted(
            number
            for key in self._objects.keys(CHALLENGES)
            if (number := history_number(key, CHALLENGES)) is not None and number < NUMBERS_END
        )

    def _read(self, number: int) -> ChallengeRecord | None:
        found = self._objects.read(_key(number), SMALL_MAX_BYTES)
        try:
            return None if found is None else _parse(parse_object(found.content))
        except ValueError:
            return None


def _key(number: int) -> str:
    return f"{CHALLENGES}{number:06d}.json"


def _parse(record: dict[str, Any]) -> ChallengeRecord:
    at, host = (str(record.get(name, ""))[:_TEXT_CHARACTERS] for name in ("at", "host"))
    return ChallengeRecord(
        _version(record.get("version")),
        _version(record.get("previous")),
        printable(at),
        printable(host),
    )


def _version(value: object) -> str | None:
    return value if isinstance(value, str) and is_version(value) else None
