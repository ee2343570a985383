"""The card history of one input partition: steps of rows, each of which can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.layout import Layout
from stream_scorer.features.history.key_kernel import read_keys
from stream_scorer.features.history.plan import (
    KeyPlan,
    Keys,
    Source,
    UpdatePlan,
    empty_keys,
    plan_keys,
    plan_updates,
    source_of,
)
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.history.table import (
    MAX_KEYS,
    Figures,
    SpaceTable,
    TableUndo,
    space_seed,
    sum_of,
)
from stream_scorer.features.history.table_kernel import move_clock

NO_CLOCK: Final = -1
_SECONDS_A_DAY: Final = 86_400
_CLOCK_FACTOR: Final = 0xD6E8FEB86659FD93
_SUM_MASK: Final = 2**64 - 1


class Undo:
    """An open step of a partition."""

    __slots__ = ("clock_before", "future", "tables")

    def __init__(self, clock_before: int, tables: list[TableUndo]) -> None:
        self.clock_before = clock_before
        self.tables = tables
        self.future = 0


class Sizes(NamedTuple):
    """Keys by space, and bytes of memory."""

    keys: Mapping[str, int]
    nbytes: int


class _Plans(NamedTuple):
    keys: list[KeyPlan]
    updates: list[UpdatePlan]


class PartitionHistory:
    """The records of a partition, and the one function that advances them.

    The state is a function of the rows that advanced it, in their order, and of nothing else: not
    of batches, of open steps, or of the partition's number.

    Args:
        spec: keys and features.
        max_keys: of each key space.
        as_of: rows up to this ``TransactionDT`` get features and do not advance, because the state
            that this one began with has seen them.
    """

    def __init__(self, spec: HistorySpec, max_keys: int = MAX_KEYS, as_of: int = -1) -> None:
        self.spec = spec
        self.max_keys = max_keys
        self.as_of = as_of
        self.future = 0
        """Rows of settled steps that were more than a day ahead of the clock, since the start."""
        self._clock = NO_CLOCK
        self._open: list[Undo] = []
        self._plans: dict[Layout | None, _Plans] = {}
        self._tables = [
            SpaceTable(space.width, space_seed(place), space.ttl_days, max_keys)
            for place, space in enumerate(spec.spaces)
        ]

    @classmethod
    def restore(
        cls, spec: HistorySpec, records: PartitionRecords, max_keys: int = MAX_KEYS, as_of: int = -1
    ) -> PartitionHistory:
        """The history with these records.

        Raises:
            ValueError: they are not records of this spec, or a key occurs twice.
        """
        history = cls(spec, max_keys, as_of)
        history._clock = records.clock
        if list(records.spaces) != [space.name for space in spec.spaces]:
            raise ValueError("the records are of other key spaces")
        for space, table in zip(spec.spaces, history._tables, strict=True):
            words = records.spaces[space.name]
            if words.ndim != 2 or words.shape[1] != space.width:
                raise ValueError(f"records of {space.name} do not have {space.width} words")
            table.fill(words)
        return history

    @property
    def clock(self) -> int:
        """The largest ``TransactionDT`` so far, but for absurd ones; -1 before the first row."""
        return self._clock

    def step(
        self,
        batch: TransactionBatch,
        rows: NDArray[np.int64],
        advances: NDArray[np.bool_],
        out: NDArray[np.float64],
    ) -> Undo:
        """Features of some rows, each from the rows before it, and the update by them.

        Args:
            batch: with every column, or in a layout that has those of the spec.
            rows: their places in the batch, in offset order.
            advances: bool ``[len(batch)]``; the others get features only.
            out: float64 ``[len(batch), features]``; ``out[rows]`` is written.

        Returns:
            What :meth:`rollback` or :meth:`settle` needs.
        """
        source, plans = source_of(batch), self._plans_for(batch.layout)
        moves = advances[rows] & (batch.times[rows] > self.as_of)
        keys = [self._read_keys(source, plan, rows, moves) for plan in plans.keys]
        undo = Undo(self._clock, [table.begin(len(rows)) for table in self._tables])
        self._open.append(undo)
        # All spaces agree on the rows that have a card and a time.
        first, seen = 0, np.zeros(1, np.int64)
        ticks = moves & self._has_card(keys)
        while first < len(rows):
            last, clock = map(int, move_clock(batch.times, rows, ticks, first, self._clock, seen))
            day = clock // _SECONDS_A_DAY
            is_new_day = self._clock >= 0 and day != self._clock // _SECONDS_A_DAY
            for table, of_table, of_space, plan in zip(
                self._tables, undo.tables, keys, plans.updates, strict=True
            ):
                if is_new_day:
                    table.enter_day(of_table, day)
                table.update(of_table, source, of_space, plan, first, last, day, out)
            self._clock, first = clock, last
        undo.future = int(seen[0])
        for table, of_table in zip(self._tables, undo.tables, strict=True):
            table.finish(of_table)
        return undo

    def columns(
        self, batch: TransactionBatch, rows: NDArray[np.int64], advances: NDArray[np.bool_]
    ) -> tuple[HistoryColumns, Undo]:
        """The features of a batch whose rows are all of this partition, and the open step."""
        out = np.empty((len(batch), len(self.spec.names)))
        undo = self.step(batch, rows, advances, out)
        return HistoryColumns(self.spec.fingerprint, out), undo

    def peek(
        self, batch: TransactionBatch, rows: NDArray[np.int64], out: NDArray[np.float64]
    ) -> None:
        """Features of some rows, without an update: they do not see each other."""
        source, plans = source_of(batch), self._plans_for(batch.layout)
        none = np.zeros(len(rows), np.bool_)
        for table, of_keys, of_updates in zip(self._tables, plans.keys, plans.updates, strict=True):
            keys = self._read_keys(source, of_keys, rows, none)
            table.peek(source, keys, of_updates, out)

    def rollback(self, undo: Undo) -> None:
        """Take back the youngest open step.

        Raises:
            ValueError: it is not the youngest.
        """
        if not self._open or self._open[-1] is not undo:
            raise ValueError("only the youngest open step can be taken back")
        for table, of_table in zip(self._tables, undo.tables, strict=True):
            table.rollback(of_table)
        self._clock = undo.clock_before
        self._open.pop()

    def settle(self, undo: Undo) -> None:
        """The oldest open step is committed and cannot be taken back any more.

        Raises:
            ValueError: it is not the oldest.
        """
        if not self._open or self._open[0] is not undo:
            raise ValueError("only the oldest open step can be settled")
        self._open.pop(0)
        self.future += undo.future
        for table, of_table in zip(self._tables, undo.tables, strict=True):
            table.settle(of_table)
            if not self._open:
                table.compact()

    @property
    def open_steps(self) -> int:
        """Steps that were neither taken back nor settled."""
        return len(self._open)

    def check_sum(self) -> int:
        """64 bits of the state after all open steps; they do not depend on how it was reached."""
        return _add_clock(sum(table.check_sum for table in self._tables), self._clock)

    def copy(self) -> PartitionRecords:
        """The records before the open steps, in no particular order: fast, for the loop's thread.

        Their check sum is that of the last settled step. :func:`sort_records` does the rest.
        """
        spaces = {}
        for place, (space, table) in enumerate(zip(self.spec.spaces, self._tables, strict=True)):
            spaces[space.name] = table.copy([undo.tables[place] for undo in self._open])
        return PartitionRecords(self._open[0].clock_before if self._open else self._clock, spaces)

    def records(self) -> PartitionRecords:
        """The records before the open steps, sorted."""
        return sort_records(self.copy())

    def find(self, card: int) -> dict[str, NDArray[np.uint64]]:
        """The records of a card, by key space."""
        return {s.name: t.find(card) for s, t in zip(self.spec.spaces, self._tables, strict=True)}

    def sizes(self) -> Sizes:
        """Keys and memory."""
        keys = {s.name: t.keys for s, t in zip(self.spec.spaces, self._tables, strict=True)}
        return Sizes(keys, sum(table.nbytes for table in self._tables))

    def figures(self) -> Figures:
        """Late and repeated rows, and removed records, of all key spaces since the start."""
        total = Figures()
        for table in self._tables:
            total.late += table.figures.late
            total.repeats += table.figures.repeats
            total.expired += table.figures.expired
            total.evicted += table.figures.evicted
        return total

    def _plans_for(self, layout: Layout | None) -> _Plans:
        found = self._plans.get(layout)
        if found is None:
            first, updates = 0, []
            for space in self.spec.spaces:
                updates.append(plan_updates(space, first, layout))
                first += len(space.named)
            found = _Plans([plan_keys(space, layout) for space in self.spec.spaces], updates)
            self._plans[layout] = found
        return found

    @staticmethod
    def _read_keys(
        source: Source, plan: KeyPlan, rows: NDArray[np.int64], advances: NDArray[np.bool_]
    ) -> Keys:
        keys = empty_keys(rows, advances, len(plan.sets))
        read_keys(source, plan, rows, keys)
        return keys

    @staticmethod
    def _has_card(keys: list[Keys]) -> NDArray[np.bool_]:
        found = keys[0].has_history
        for of_space in keys[1:]:
            found = found | of_space.has_history
        return found


def sort_records(records: PartitionRecords) -> PartitionRecords:
    """Records in the order of their keys: the same state gives the same arrays."""
    spaces = {}
    for name, words in records.spaces.items():
        order = np.lexsort((words[:, 1], words[:, 0].view(np.int64)))
        spaces[name] = np.ascontiguousarray(words[order])
    return PartitionRecords(records.clock, spaces)


def records_sum(spec: HistorySpec, records: PartitionRecords) -> int:
    """The check sum of records, as :meth:`PartitionHistory.check_sum` has it."""
    sums = (
        sum_of(records.spaces[space.name], space_seed(place))
        for place, space in enumerate(spec.spaces)
    )
    return _add_clock(sum(sums), records.clock)


def _add_clock(total: int, clock: int) -> int:
    return (total + (clock - NO_CLOCK) * _CLOCK_FACTOR) & _SUM_MASK
