"""The records of one key space of one partition: memory, steps, and what undoes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.history.kernel import DONE, advance
from stream_scorer.features.history.plan import Keys, Source, UpdatePlan
from stream_scorer.features.history.table_kernel import (
    add_hashes,
    fill_index,
    finish_step,
    remove_before,
    undo_step,
)

Words = NDArray[np.uint64]

MAX_KEYS: Final = 2**30
"""Of one key space: rows are numbered with 31 bits."""

_FIRST_ROOM: Final = 1024
_SECONDS_A_DAY: Final = 86_400
_SPARE_DAYS: Final = 7
"""Dead records stay so much longer: clocks differ between one table offline and twelve online, and
in a stream less late than this nobody can see when a record is removed."""
_DEAD_SHARE: Final = 4
_SUM_MASK: Final = 2**64 - 1
_SEED: Final = 0x9E3779B97F4A7C15
_SPACE_FACTOR: Final = 0xC4CEB9FE1A85EC53


class TableArrays(NamedTuple):
    """The arrays of a table as the compiled loops take them; four views of the same records."""

    words: Words
    doubles: NDArray[np.float64]
    floats: NDArray[np.float32]
    octets: NDArray[np.uint8]
    slots: NDArray[np.int32]
    stamps: NDArray[np.int64]


class Saved(NamedTuple):
    """Records as they were before a step."""

    rows: NDArray[np.int64]
    words: Words


@dataclass(slots=True)
class TableUndo:
    """What takes a step back: saved records, and the figures before it."""

    saved: Saved
    state: NDArray[np.int64]
    rows_before: int
    keys_before: int
    sum_before: int
    used: int = 0
    expired: int = 0
    evicted: int = 0


@dataclass(slots=True)
class Figures:
    """Counts of settled steps since the start, for metrics; they are no part of the state."""

    late: int = 0
    repeats: int = 0
    expired: int = 0
    evicted: int = 0


@dataclass(slots=True)
class SpaceTable:
    """The records of one key space.

    Attributes:
        width: words of a record.
        seed: goes into the hash of each record, so that spaces differ.
        ttl_days: after which an unused record counts as absent.
        max_keys: an insertion into a full table removes the records that were unused for longest.
        rows: places in use, dead records among them.
        keys: records that are not dead.
        check_sum: sum of the hashes of all records that are not dead, modulo 2^64.
    """

    width: int
    seed: int
    ttl_days: int
    max_keys: int
    rows: int = 0
    keys: int = 0
    check_sum: int = 0
    figures: Figures = field(default_factory=Figures)
    _steps: int = 0
    _arrays: TableArrays = field(init=False)

    def __post_init__(self) -> None:
        """Allocate the first records."""
        self._arrays = _allocate(self.width, _FIRST_ROOM)

    @property
    def capacity(self) -> int:
        """Records that fit without growing."""
        return len(self._arrays.words)

    @property
    def nbytes(self) -> int:
        """Memory of records and index."""
        arrays = self._arrays
        return arrays.words.nbytes + arrays.slots.nbytes + arrays.stamps.nbytes

    def begin(self, room: int) -> TableUndo:
        """Begin a step that touches about ``room`` records."""
        self._steps += 1
        state = np.array([self.rows, self.keys, 0, self.rows, self._steps, 0, 0], np.int64)
        saved = Saved(np.empty(room, np.int64), np.empty((room, self.width), np.uint64))
        return TableUndo(saved, state, self.rows, self.keys, self.check_sum)

    def update(
        self,
        undo: TableUndo,
        source: Source,
        keys: Keys,
        plan: UpdatePlan,
        first: int,
        last: int,
        day: int,
        out: NDArray[np.float64],
    ) -> None:
        """Features and update of the rows ``first`` to ``last`` of ``keys``, all in one day."""
        self._reserve(undo, last - first)
        self._grow(last - first)
        at = first
        while True:
            stop = advance(source, keys, plan, self._arrays, undo.saved, undo.state, at, last,
                           self.max_keys, 1, out)  # fmt: skip
            self._take(undo)
            if stop == DONE:
                return
            self._make_room(undo, day)
            self._reserve(undo, last - stop)
            at = int(stop)

    def peek(self, source: Source, keys: Keys, plan: UpdatePlan, out: NDArray[np.float64]) -> None:
        """Features without an update."""
        state = np.array([self.rows, self.keys, 0, self.rows, 0, 0, 0], np.int64)
        saved = Saved(np.empty(0, np.int64), np.empty((0, self.width), np.uint64))
        rows = len(keys.rows)
        advance(source, keys, plan, self._arrays, saved, state, 0, rows, self.max_keys, 0, out)

    def enter_day(self, undo: TableUndo, day: int) -> None:
        """Remove what has long expired; the partition's clock has entered ``day``."""
        time = (day - self.ttl_days - _SPARE_DAYS) * _SECONDS_A_DAY
        undo.expired += self._remove(undo, time)

    def finish(self, undo: TableUndo) -> None:
        """End a step: bring the check sum up to date, and keep only what undoes it."""
        self.check_sum = int(
            finish_step(self._arrays, undo.saved, undo.state, np.uint64(self.check_sum),
                        np.uint64(self.seed))
        ) & _SUM_MASK  # fmt: skip
        undo.used = int(undo.state[2])
        if len(undo.saved.rows) > 4 * max(undo.used, 1):  # a day's removal needs room for all
            used = slice(0, undo.used)
            undo.saved = Saved(undo.saved.rows[used].copy(), undo.saved.words[used].copy())

    def settle(self, undo: TableUndo) -> None:
        """Count what a step did; it is not taken back any more."""
        self.figures.repeats += int(undo.state[5])
        self.figures.late += int(undo.state[6])
        self.figures.expired += undo.expired
        self.figures.evicted += undo.evicted

    def rollback(self, undo: TableUndo) -> None:
        """Take back the youngest open step, finished or not."""
        used = slice(0, int(undo.state[2]))
        saved = undo.saved
        undo_step(self._arrays, saved.rows[used], saved.words[used], undo.rows_before, self.rows)
        self.rows, self.keys, self.check_sum = undo.rows_before, undo.keys_before, undo.sum_before

    def compact(self) -> None:
        """Drop dead records if there are many; no step may be open."""
        dead = self.rows - self.keys
        if dead > max(_FIRST_ROOM, self.rows // _DEAD_SHARE):
            self.fill(self._living(self._arrays.words[: self.rows]))

    def copy(self, open_steps: list[TableUndo]) -> Words:
        """The records as they were before the open steps (oldest first); dead ones left out."""
        rows = open_steps[0].rows_before if open_steps else self.rows
        words = self._arrays.words[:rows].copy()
        for undo in reversed(open_steps):
            used = slice(0, undo.used)
            known = undo.saved.rows[used] < rows
            words[undo.saved.rows[used][known]] = undo.saved.words[used][known]
        return self._living(words)

    def fill(self, words: Words) -> None:
        """Replace all records.

        Raises:
            ValueError: a key occurs twice.
        """
        arrays = _allocate(self.width, max(_FIRST_ROOM, len(words)))
        arrays.words[: len(words)] = words
        if not fill_index(arrays.slots, arrays.words, len(words)):
            raise ValueError("two records have the same key")
        self._arrays = arrays
        self.rows = self.keys = len(words)
        self.check_sum = sum_of(words, self.seed)

    def find(self, card: int) -> Words:
        """The records of a card."""
        words = self._living(self._arrays.words[: self.rows])
        found: Words = words[words[:, 0].view(np.int64) == card]
        return found

    @staticmethod
    def _living(words: Words) -> Words:
        found: Words = words[words[:, 2] != 0]
        return found

    def _take(self, undo: TableUndo) -> None:
        self.rows, self.keys = int(undo.state[0]), int(undo.state[1])

    def _remove(self, undo: TableUndo, time: int) -> int:
        self._reserve(undo, self.rows)
        removed = int(remove_before(self._arrays, undo.saved, undo.state, time))
        self._take(undo)
        return removed

    def _make_room(self, undo: TableUndo, day: int) -> None:
        """Halve the time to live until a quarter of the keys is free."""
        end, ttl = (day + 1) * _SECONDS_A_DAY, self.ttl_days * _SECONDS_A_DAY
        while self.keys > self.max_keys * 3 // 4:
            ttl //= 2
            # Times may lie ahead of the clock: at last everything goes.
            undo.evicted += self._remove(undo, end - ttl if ttl else 2**33)

    def _reserve(self, undo: TableUndo, more: int) -> None:
        """Make room for ``more`` saved records."""
        used = int(undo.state[2])
        if used + more <= len(undo.saved.rows):
            return
        room = max(used + more, 2 * len(undo.saved.rows))
        rows, words = np.empty(room, np.int64), np.empty((room, self.width), np.uint64)
        rows[:used], words[:used] = undo.saved.rows[:used], undo.saved.words[:used]
        undo.saved = Saved(rows, words)

    def _grow(self, more: int) -> None:
        """Make room for ``more`` records."""
        needed = self.rows + more
        if needed <= self.capacity:
            return
        if needed > MAX_KEYS:
            raise MemoryError(f"a key space has more than {MAX_KEYS} records")
        old = self._arrays
        arrays = _allocate(self.width, max(2 * self.capacity, needed))
        arrays.words[: self.rows] = old.words[: self.rows]
        arrays.stamps[: self.rows] = old.stamps[: self.rows]
        fill_index(arrays.slots, arrays.words, self.rows)
        self._arrays = arrays


def sum_of(words: Words, seed: int) -> int:
    """The check sum of records."""
    return int(add_hashes(words, np.uint64(seed))) & _SUM_MASK


def space_seed(place: int) -> int:
    """The seed of a spec's key space number ``place``."""
    return (_SEED + (place + 1) * _SPACE_FACTOR) & _SUM_MASK


def _allocate(width: int, capacity: int) -> TableArrays:
    words = np.zeros((capacity, width), np.uint64)
    index = np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32)
    return TableArrays(
        words,
        words.view(np.float64),
        words.view(np.float32),
        words.view(np.uint8),
        index,
        np.zeros(capacity, np.int64),
    )
