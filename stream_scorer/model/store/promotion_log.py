"""The history of promotions, on top of any object storage."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.errors import StoreConflict
from stream_scorer.model.store.names import (
    HISTORY,
    NUMBERS_END,
    SMALL_MAX_BYTES,
    history_key,
    history_number,
)
from stream_scorer.model.store.objects import Objects
from stream_scorer.model.store.promotions import Override, Promotion, parse_promotion
from stream_scorer.runtime.json_limits import parse_object

READ_LAST: Final = 100
"""Promotions that are read. No rollback goes back further, and each costs one request once."""

SEARCH_LAST: Final = 10
"""Promotions among which the promoted version is looked for; it is nearly always the last one."""

REREAD_LAST: Final = 5
"""The last records are read every time. A promoter that lost a race deletes its record, and another
promotion may then take the number. More than five promoters never race at once."""

CLAIM_ATTEMPTS: Final = 100
"""Each failed attempt is a number another promoter took; they are few."""


class PromotionLog:
    """Appends to and reads ``manifests/history/``; each record but the last few is read once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[int, Promotion | None] = {}

    def read(self) -> list[Promotion]:
        """The last promotions in order; unreadable records are left out.

        Raises:
            StoreError: the store did not answer.
        """
        numbers = self._numbers()[-READ_LAST:]
        for number in numbers[:-REREAD_LAST]:
            if number not in self._known:
                self._known[number] = self._read(number)
        stable = [self._known[number] for number in numbers[:-REREAD_LAST]]
        last = [self._read(number) for number in numbers[-REREAD_LAST:]]
        return [found for found in (*stable, *last) if found is not None]

    def find_last(self, version: str) -> Promotion | None:
        """The last promotion of ``version`` among the last ``SEARCH_LAST`` ones.

        Raises:
            StoreError: the store did not answer.
        """
        for number in reversed(self._numbers()[-SEARCH_LAST:]):
            found = self._known.get(number) or self._read(number)
            if found is not None and found.version == version:
                return found
        return None

    def append(
        self, version: str, previous: str | None, *, is_rollback: bool, override: Override | None
    ) -> str:
        """Record a promotion that is about to happen; returns the record's key.

        Raises:
            StoreConflict: other promoters took every number tried.
            StoreError: the store cannot be written.
        """
        record: dict[str, Any] = {
            "version": version,
            "previous": previous,
            "is_rollback": is_rollback,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
        }
        if override is not None:  # readers of earlier releases ignore these
            record |= {"forced": True, "by": override.by, "reason": override.reason}
        content = json.dumps(record, indent=1).encode() + b"\n"
        first = max(self._numbers(), default=0) + 1
        for number in range(first, first + CLAIM_ATTEMPTS):
            if self._objects.create(history_key(number), content):
                return history_key(number)
        raise StoreConflict(
            f"{self._objects.where}: other promoters took {CLAIM_ATTEMPTS} numbers in a row"
        )

    def remove(self, key: str) -> None:
        """Delete the record of a promotion that did not happen."""
        self._objects.remove(key)

    def _numbers(self) -> list[int]:
        numbers = sorted(
            number
            for key in self._objects.keys(HISTORY)
            if (number := history_number(key)) is not None and number < NUMBERS_END
        )
        present = set(numbers)
        self._known = {n: p for n, p in self._known.items() if n in present}
        return numbers

    def _read(self, number: int) -> Promotion | None:
        found = self._objects.read(history_key(number), SMALL_MAX_BYTES)
        try:
            return None if found is None else parse_promotion(parse_object(found.content))
        except ValueError:
            return None
