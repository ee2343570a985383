"""The last result of ``stream-scorer drift`` in the artifact store. It is read twice a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from stream_scorer.drift.reading.report import DriftReport, read_report
from stream_scorer.errors import StoreError
from stream_scorer.model.store.names import DRIFT, DRIFT_MAX_BYTES
from stream_scorer.model.store.objects import Objects, StoredObject
from stream_scorer.runtime.json_limits import parse_object

_FRESH_SECONDS: Final = 30.0
_FAULTS: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


class LastDrift:
    """Reads the result; any number of threads may ask.

    Args:
        objects: the storage.
        clock: monotonic seconds.
    """

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._clock = objects, clock
        self._lock = threading.Lock()
        self._stored: StoredObject | None = None
        self._report: DriftReport | None = None
        self._read_at: float | None = None

    def read(self) -> DriftReport | None:
        """The result; None if there is none yet.

        Raises:
            StoreError: the store cannot be reached, or what it has is no result.
        """
        with self._lock:
            stored, report, read_at = self._stored, self._report, self._read_at
        now = self._clock()
        if read_at is not None and now - read_at < _FRESH_SECONDS:
            return report
        found = self._objects.read(DRIFT, DRIFT_MAX_BYTES, stored)
        if found is not stored or found is None:
            report = None if found is None else _parse(found.content)
        with self._lock:
            self._stored, self._report, self._read_at = found, report, now
        return report


def _parse(content: bytes) -> DriftReport:
    try:
        return read_report(parse_object(content))
    except _FAULTS as error:
        raise StoreError(f"{DRIFT} is not the result of stream-scorer drift") from error
