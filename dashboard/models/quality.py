"""The last result of ``stream-scorer quality`` in the artifact store. It is read twice a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from stream_scorer.errors import StoreError
from stream_scorer.model.store.objects import Objects
from stream_scorer.quality.published import Published, fetch

_FRESH_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 10.0
"""After a failure. A store that does not answer must not hold up every page."""


class LiveQuality:
    """Reads the result; any number of threads may ask, and one of them at a time reads.

    Args:
        objects: the storage.
        clock: monotonic seconds.
    """

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._clock = objects, clock
        self._lock = threading.Lock()
        self._known: Published | None = None
        self._failure: str | None = None
        self._fresh_until: float | None = None

    def read(self) -> Mapping[str, Any] | None:
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
            self._known = fetch(self._objects, self._known)
            self._failure, seconds = None, _FRESH_SECONDS
        except StoreError as error:
            self._failure, seconds = str(error), _RETRY_SECONDS
        self._fresh_until = self._clock() + seconds
