"""Batches on their way to another process: few at once, in memory that a compiled loop reads."""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np

from stream_scorer.shadow import exchange
from stream_scorer.shadow.exchange import (
    ANSWERED,
    COPIED,
    COUNTERS,
    JOB_FIELDS,
    PIECE_FIELDS,
    TAKEN,
)
from stream_scorer.shadow.wire import Packed, TooLarge

SLOTS: Final = 4
"""One is at work, and one is free for the next batch while two wait."""

_PIECES: Final = 8
_MESSAGE_BYTES: Final = 64 * 1024


class Slots:
    """The batches that were handed over last, and what became of them.

    The loop's thread fills a slot; the compiled loop counts what it has taken, copied and answered.
    """

    def __init__(self) -> None:
        self.jobs = np.zeros((SLOTS, JOB_FIELDS), np.int64)
        self.pieces = np.zeros((SLOTS, _PIECES * PIECE_FIELDS), np.int64)
        self.messages = np.zeros((SLOTS, _MESSAGE_BYTES), np.uint8)
        self.counters = np.zeros(COUNTERS, np.int64)
        self.filled = 0
        self._released = 0
        self._kept: list[Any] = [None] * SLOTS
        self._bytes = [0] * SLOTS
        self._releasing = threading.Lock()

    @property
    def answered(self) -> int:
        """How many were answered, all in all."""
        return int(self.counters[ANSWERED])

    @property
    def is_full(self) -> bool:
        """Whether none can be filled now."""
        return self.filled - int(self.counters[COPIED]) >= SLOTS

    def waiting(self) -> tuple[int, int]:
        """How many were not yet taken, and their bytes."""
        taken = int(self.counters[TAKEN])
        waiting = range(taken, self.filled)
        return len(waiting), sum(self._bytes[number % SLOTS] for number in waiting)

    def fill(self, packed: Packed | None) -> int:
        """Fill the next slot; None: with nothing to be sent. One must be free.

        Returns:
            Its number.

        Raises:
            TooLarge: the message does not fit.
        """
        slot = self.filled % SLOTS
        job = self.jobs[slot]
        job[exchange.MESSAGE] = 0
        if packed is not None:
            self._describe(packed, slot)
        self._kept[slot] = packed
        self._bytes[slot] = 0 if packed is None else packed.nbytes
        self.filled += 1
        return slot

    def release(self) -> None:
        """Let go of what was copied; the loop reuses that memory."""
        if not self._releasing.acquire(blocking=False):
            return  # the other thread does it
        try:
            copied = int(self.counters[COPIED])
            for number in range(self._released, copied):
                self._kept[number % SLOTS] = None
            self._released = copied
        finally:
            self._releasing.release()

    def _describe(self, packed: Packed, slot: int) -> None:
        size = len(packed.message)
        if size > _MESSAGE_BYTES:
            raise TooLarge(f"a message of {size} bytes")
        self.messages[slot, :size] = np.frombuffer(packed.message, np.uint8)
        described: list[int] = []
        for array, is_by_row, place in packed.pieces:
            size_of_one = array.strides[0] if is_by_row else array.nbytes
            described += (_address(array), size_of_one, is_by_row, place)
        self.pieces[slot, : len(described)] = described
        rows = packed.rows
        self.jobs[slot] = (
            len(packed.pieces),
            size,
            packed.n,
            0 if rows is None else _address(rows),
            packed.starts.shape[1],
            _address(packed.text),
            _address(packed.starts),
            _address(packed.lengths),
            packed.text_place,
        )


def _address(array: np.ndarray[Any, Any]) -> int:
    found: int = array.__array_interface__["data"][0]
    return found
