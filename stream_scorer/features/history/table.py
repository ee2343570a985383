"""The records of one key space of one partition: memory, steps, and what undoes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.history.arrays import (
    Keys,
    Saved,
    Source,
    TableArrays,
    UpdatePlan,
    Words,
)
from stream_scorer.features.history.kernel import DONE, advance
from stream_scorer.features.history.key_kernel import move_clock
from stream_scorer.features.history.table_kernel import (
    add_hashes,
    copy_living,
    count_before,
    fill_index,
    finish_step,
    remove_before,
    undo_step,
)

MAX_KEYS: Final = 2**30
"""Of one key space: rows are numbered with 31 bits."""

_FIRST_ROOM: Final = 1024
_SPARE_SHARE: Final = 8
_SECONDS_A_DAY: Final = 86_400
_SPARE_DAYS: Final = 7
"""Dead records stay so much longer: clocks differ between one table offline and twelve online, and
in a stream less late than this nobody can see when a record is removed."""
_DEAD_SHARE: Final = 4
_END_OF_TIME: Final = 2**33
_SUM_MASK: Final = 2**64 - 1
_SEED: Final = 0x9E3779B97F4A7C15
_SPACE_FACTOR: Final = 0xC4CEB9FE1A85EC53


@dataclass(slots=True)
class TableUndo:
    """What takes a step back: saved records, and the figures before it.

    ``state`` is that of :func:`stream_scorer.features.history.kernel.advance`.
    """

    saved: Saved
    state: NDArray[np.int64]
    rows_before: int
    keys_before: int
    sum_before: int
    expired: int = 0
    evicted: int = 0

    @property
    def used(self) -> Saved:
        """The saved records, without the room for more."""
        n = int(self.state[2])
        return Saved(self.saved.rows[:n], self.saved.words[:n])


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
        """Memory of records and index; room for more records costs none until it is used."""
        arrays = self._arrays
        return self.rows * 8 * (self.width + 1) + arrays.slots.nbytes

    def begin(self, room: int) -> TableUndo:
        """Begin a step that touches about ``room`` records."""
        self._steps += 1
        state = np.array((self.rows, self.keys, 0, self.rows, self._steps, 0, 0), np.int64)
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
        clock: int,
        out: NDArray[np.float64],
    ) -> None:
        """Features and update of the rows ``first`` to ``last`` of ``keys``, all in one day.

        ``clock`` is that of the partition before these rows.
        """
        self._reserve(undo, last - first)
        self._grow(last - first)
        at = first
        while True:
            at = advance(*source[:3], *keys, *plan, *self._arrays, *undo.saved, undo.state,
                         at, last, self.max_keys, 1, out)  # fmt: skip
            self._take(undo)
            if at == DONE:
                return
            _, now = move_clock(source.times, keys.rows, keys.flags, first, at + 1, clock,
                                np.zeros(1, np.int64))  # fmt: skip
            self._make_room(undo, now)
            self._reserve(undo, last - at)

    def peek(self, source: Source, keys: Keys, plan: UpdatePlan, out: NDArray[np.float64]) -> None:
        """Features without an update."""
        state = np.array((self.rows, self.keys, 0, self.rows, 0, 0, 0), np.int64)
        saved = Saved(np.empty(0, np.int64), np.empty((0, self.width), np.uint64))
        advance(*source[:3], *keys, *plan, *self._arrays, *saved, state,
                0, len(keys.rows), self.max_keys, 0, out)  # fmt: skip

    def enter_day(self, undo: TableUndo, day: int) -> None:
        """Remove what has long expired; the partition's clock has entered ``day``."""
        time = (day - self.ttl_days - _SPARE_DAYS) * _SECONDS_A_DAY
        undo.expired += self._remove(undo, time)

    def finish(self, undo: TableUndo) -> None:
        """End a step: bring the check sum up to date."""
        self.check_sum = int(
            finish_step(self._arrays.words, *undo.saved, undo.state, np.uint64(self.check_sum),
                        np.uint64(self.seed))
        )  # fmt: skip

    def settle(self, undo: TableUndo) -> None:
        """Count what a step did; it is not taken back any more."""
        self.figures.repeats += int(undo.state[5])
        self.figures.late += int(undo.state[6])
        self.figures.expired += undo.expired
        self.figures.evicted += undo.evicted

    def rollback(self, undo: TableUndo) -> None:
        """Take back the youngest open step, finished or not."""
        saved = undo.used
        undo_step(self._arrays, saved.rows, saved.words, undo.rows_before, int(undo.state[0]))
        self.rows, self.keys, self.check_sum = undo.rows_before, undo.keys_before, undo.sum_before

    def compact(self, open_steps: Sequence[TableUndo]) -> None:
        """Drop dead records if there are many; the open steps can be taken back all the same."""
        before, alive_before = self._before(open_steps)
        if before - alive_before <= max(_FIRST_ROOM, before // _DEAD_SHARE):
            return
        old = self._arrays
        keep = old.words[: self.rows, 2] != 0
        keep[before:] = True
        for undo in open_steps:
            keep[undo.used.rows] = True
        places = np.cumsum(keep) - 1
        for undo in open_steps:
            saved = undo.used.rows
            saved[:] = places[saved]
        kept = int(places[-1]) + 1
        dropped = self.rows - kept
        self._arrays = _allocate(self.width, kept + kept // _SPARE_SHARE)
        np.compress(keep, old.words[: self.rows], axis=0, out=self._arrays.words[:kept])
        np.compress(keep, old.stamps[: self.rows], out=self._arrays.stamps[:kept])
        fill_index(self._arrays.slots, self._arrays.words, kept)
        self.rows = kept
        for undo in open_steps:
            undo.rows_before -= dropped
            undo.state[0] -= dropped

    def copy(self, open_steps: Sequence[TableUndo]) -> Words:
        """The records before the open steps (the oldest first), in no particular order."""
        before, alive_before = self._before(open_steps)
        out = np.empty((alive_before, self.width), np.uint64)
        taken, n = np.zeros(before, np.bool_), 0
        for undo in open_steps:
            saved = undo.used
            new = saved.rows < before
            rows = saved.rows[new]
            new[new] = ~taken[rows]
            alive = saved.words[new & (saved.words[:, 2] != 0)]
            out[n : n + len(alive)] = alive
            taken[rows], n = True, n + len(alive)
        copy_living(self._arrays.words, taken, out, n)
        return out

    def fill(self, words: Words) -> bool:
        """Replace all records; False if a key occurs twice."""
        arrays = _allocate(self.width, len(words) + len(words) // _SPARE_SHARE)
        arrays.words[: len(words)] = words
        if not fill_index(arrays.slots, arrays.words, len(words)):
            return False
        self._arrays = arrays
        self.rows = self.keys = len(words)
        self.check_sum = sum_of(words, self.seed)
        return True

    def find(self, card: int) -> Words:
        """The records of a card, after all open steps."""
        words = self._arrays.words[: self.rows]
        found: Words = words[words[:, 0].view(np.int64) == card]
        alive: Words = found[found[:, 2] != 0]
        return alive

    def _before(self, open_steps: Sequence[TableUndo]) -> tuple[int, int]:
        """Rows and keys before the oldest open step."""
        if not open_steps:
            return self.rows, self.keys
        return open_steps[0].rows_before, open_steps[0].keys_before

    def _take(self, undo: TableUndo) -> None:
        self.rows, self.keys = int(undo.state[0]), int(undo.state[1])

    def _remove(self, undo: TableUndo, time: int) -> int:
        found = int(count_before(self._arrays.words, self.rows, time))
        if found:
            self._reserve(undo, found)
            remove_before(self._arrays, undo.saved, undo.state, time)
            self._take(undo)
        return found

    def _make_room(self, undo: TableUndo, clock: int) -> None:
        """Halve the time to live until a quarter of the keys is free."""
        ttl = self.ttl_days * _SECONDS_A_DAY
        while self.keys > self.max_keys * 3 // 4:
            ttl //= 2
            # Times may lie ahead of the clock: at last everything goes.
            undo.evicted += self._remove(undo, clock - ttl if ttl else _END_OF_TIME)

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
    words = np.ascontiguousarray(words).view()
    words.flags.writeable = False  # one type for the compiled loop, whoever made the array
    return int(add_hashes(words, np.uint64(seed))) & _SUM_MASK


def space_seed(place: int) -> int:
    """The seed of a spec's key space number ``place``."""
    return (_SEED + (place + 1) * _SPACE_FACTOR) & _SUM_MASK


def _allocate(width: int, capacity: int) -> TableArrays:
    capacity = max(capacity, _FIRST_ROOM)
    return TableArrays(
        np.zeros((capacity, width), np.uint64),
        np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32),
        np.zeros(capacity, np.int64),
    )
