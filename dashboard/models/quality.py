"""The last result of ``stream-scorer quality`` in the artifact store. It is read twice a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from stream_scorer.model.store.objects import Objects
from stream_scorer.quality.published import Published, fetch

_FRESH_SECONDS: Final = 30.0


class LiveQuality:
    """Reads the result; any number of threads may ask.

    Args:
        objects: the storage.
        clock: monotonic seconds.
    """

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._clock = objects, clock
        self._lock = threading.Lock()
        self._known: Published | None = None
        self._read_at: float | None = None

    def read(self) -> Mapping[str, Any] | None:
        """The result; None if there is none yet.

        Raises:
            StoreError: the store cannot be reached, or what it has is no result.
        """
        with self._lock:
            known, read_at = self._known, self._read_at
        now = self._clock()
        if read_at is None or now - read_at >= _FRESH_SECONDS:
            known = fetch(self._objects, known)
            with self._lock:
                self._known, self._read_at = known, now
        return None if known is None else known.result
