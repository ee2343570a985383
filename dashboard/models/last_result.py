"""The last result of a command that publishes to the artifact store, such as ``quality``.

It is read twice a minute, however many pages show it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from stream_scorer.drift.reading.report import DriftReport, read_report
from stream_scorer.errors import StoreError
from stream_scorer.model.store.names import DRIFT, DRIFT_MAX_BYTES, QUALITY, QUALITY_MAX_BYTES
from stream_scorer.model.store.objects import Objects, StoredObject
from stream_scorer.runtime.json_limits import parse_object

Result = TypeVar("Result")

_FRESH_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 10.0
"""After a failure. A store that does not answer must not hold up every page."""

_FAULTS: Final = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Known(Generic[Result]):
    result: Result
    object: StoredObject
    """As it was stored, which saves reading it again while it is the same."""


class LastResult(Generic[Result]):
    """Reads the result; any number of threads may ask, and one of them at a time reads.

    Args:
        objects: the storage.
        name: the object's name.
        max_bytes: a larger object is refused.
        parse: its content as a result; what it raises for other content becomes a `StoreError`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        objects: Objects,
        name: str,
        max_bytes: int,
        parse: Callable[[bytes], Result],
        clock: Clock = time.monotonic,
    ) -> None:
        self._objects, self._name, self._max_bytes = objects, name, max_bytes
        self._parse, self._clock = parse, clock
        self._lock = threading.Lock()
        self._known: _Known[Result] | None = None
        self._failure: str | None = None
        self._fresh_until: float | None = None

    def read(self) -> Result | None:
        """The result; None if there is none yet.

        While the store fails, it is the one that was read last.

        Raises:
            StoreError: the store cannot be reached, or what it has is no result, and none was read
                before.
        """
        is_first = self._fresh_until is None
        # Others go on with what there is while one reads. Before the first answer, they wait.
        if self._is_due() and self._lock.acquire(blocking=is_first):
            try:
                if self._is_due():
                    self._refresh()
            finally:
                self._lock.release()
        known, failure = self._known, self._failure
        if known is None and failure is not None:
            raise StoreError(failure)
        return None if known is None else known.result

    def _is_due(self) -> bool:
        return self._fresh_until is None or self._clock() >= self._fresh_until

    def _refresh(self) -> None:
        try:
            self._known = self._fetch(self._known)
            self._failure, seconds = None, _FRESH_SECONDS
        except StoreError as error:
            self._failure, seconds = str(error), _RETRY_SECONDS
        self._fresh_until = self._clock() + seconds

    def _fetch(self, known: _Known[Result] | None) -> _Known[Result] | None:
        found = self._objects.read(
            self._name, self._max_bytes, None if known is None else known.object
        )
        if found is None:
            return None
        if known is not None and found is known.object:
            return known
        try:
            return _Known(self._parse(found.content), found)
        except _FAULTS as error:
            raise StoreError(f"cannot read {self._name}: {error}") from error


def open_quality(objects: Objects, clock: Clock = time.monotonic) -> LastResult[Mapping[str, Any]]:
    """What ``stream-scorer quality --publish`` wrote."""
    return LastResult(objects, QUALITY, QUALITY_MAX_BYTES, parse_object, clock)


def open_drift(objects: Objects, clock: Clock = time.monotonic) -> LastResult[DriftReport]:
    """What ``stream-scorer drift --publish`` wrote."""
    return LastResult(
        objects, DRIFT, DRIFT_MAX_BYTES, lambda content: read_report(parse_object(content)), clock
    )
