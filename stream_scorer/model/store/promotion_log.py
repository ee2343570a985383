"""The history of promotions over any place that keeps objects."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from typing import Final

from stream_scorer.errors import StoreConflict
from stream_scorer.model.store.names import HISTORY, SMALL_MAX_BYTES, history_key, history_number
from stream_scorer.model.store.objects import Objects
from stream_scorer.model.store.promotions import Promotion, parse_promotion
from stream_scorer.runtime.json_limits import parse_object

READ_LAST: Final = 100
"""Promotions that are read; nobody goes back further, and each is a request once."""

UNSETTLED: Final = 5
"""So many last records are read each time: whoever lost a race takes his record back, and its
number may then be given to another promotion. More than so many do not promote at once."""

CLAIM_ATTEMPTS: Final = 100
"""Each is a number another promoter took; they are few."""


class PromotionLog:
    """Appends to and reads ``manifests/history/``; each record but the last few is read once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[int, Promotion | None] = {}

    def read(self) -> list[Promotion]:
        """The last promotions in order; a record that cannot be read is left out.

        Raises:
            StoreError: the store did not answer.
        """
        numbers = self._numbers()[-READ_LAST:]
        for number in numbers[:-UNSETTLED]:
            if number not in self._known:
                self._known[number] = self._read(number)
        settled = [self._known[number] for number in numbers[:-UNSETTLED]]
        last = [self._read(number) for number in numbers[-UNSETTLED:]]
        return [found for found in (*settled, *last) if found is not None]

    def append(self, version: str, previous: str | None, *, is_rollback: bool) -> str:
        """Record a promotion that is about to happen; the record's key.

        Raises:
            StoreConflict: others take every number.
            StoreError: the store cannot be written.
        """
        record = {
            "version": version,
            "previous": previous,
            "is_rollback": is_rollback,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
        }
        content = json.dumps(record, indent=1).encode() + b"\n"
        first = max(self._numbers(), default=0) + 1
        for number in range(first, first + CLAIM_ATTEMPTS):
            if self._objects.create(history_key(number), content):
                return history_key(number)
        raise StoreConflict(f"{self._objects.where}: others are promoting all the time")

    def remove(self, key: str) -> None:
        """Take back the record of a promotion that did not happen."""
        self._objects.remove(key)

    def _numbers(self) -> list[int]:
        numbers = sorted(
            number
            for key in self._objects.keys(HISTORY)
            if (number := history_number(key)) is not None
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
