"""The card history of one input partition: steps of rows, each of which can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.layout import Layout
from stream_scorer.features.history.arrays import Keys, Source
from stream_scorer.features.history.key_kernel import move_clock, read_keys
from stream_scorer.features.history.plan import Plan, plan_spec, source_of
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

NO_CLOCK: Final = -1
_SECONDS_A_DAY: Final = 86_400
_END_OF_TIME: Final = 2**32
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


class PartitionHistory:
    """The records of a partition, and the one function that advances them.

    The state is a function of the rows that advanced it, in their order, and of nothing else: not
    of batches, of open steps, or of the partition's number. One thread at a time may use it.

    Args:
        spec: keys and features.
        max_keys: of each key space, at least 1.
        as_of: rows up to this ``TransactionDT`` get features and do not advance, because the state
            that this one began with has seen them.
    """

    def __init__(self, spec: HistorySpec, max_keys: int = MAX_KEYS, as_of: int = -1) -> None:
        if not 0 < max_keys <= MAX_KEYS:
            raise ValueError(f"a key space has 1 to {MAX_KEYS} keys, not {max_keys}")
        self.spec = spec
        self.max_keys = max_keys
        self.as_of = as_of
        self.future = 0
        """Rows of settled steps that were more than a day ahead of the clock, since the start."""
        self._clock = NO_CLOCK
        self._open: list[Undo] = []
        self._layout: Layout | None = None
        self._plan = plan_spec(spec, None)
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
        if not NO_CLOCK <= records.clock < _END_OF_TIME:
            raise ValueError(f"the clock of the records is {records.clock}")
        history._clock = records.clock
        if list(records.spaces) != [space.name for space in spec.spaces]:
            raise ValueError("the records are of other key spaces")
        for space, table in zip(spec.spaces, history._tables, strict=True):
            words = records.spaces[space.name]
            if words.dtype != np.uint64 or words.ndim != 2 or words.shape[1] != space.width:
                raise ValueError(f"records of {space.name} do not have {space.width} words")
            if (words[:, 2] == 0).any() or (words[:, 3:5] >= _END_OF_TIME).any():
                raise ValueError(f"a record of {space.name} has no transaction, or no such time")
            if not table.fill(np.ascontiguousarray(words)):
                raise ValueError(f"two records of {space.name} have the same key")
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

        Raises:
            ValueError: ``out`` or ``advances`` has another shape; nothing has changed then.
            IndexError: a row is not in the batch; nothing has changed then.
            KeyError: the batch lacks a column; nothing has changed then.
        """
        source, plan = source_of(batch), self._plan_for(batch.layout)
        keys = self._read_keys(source, plan, rows, advances, out)
        undo = Undo(self._clock, [table.begin(len(rows)) for table in self._tables])
        self._open.append(undo)
        try:
            self._advance(source, keys, plan, undo, out)
        except BaseException:
            self.rollback(undo)
            raise
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
        source, plan = source_of(batch), self._plan_for(batch.layout)
        keys = self._read_keys(source, plan, rows, np.zeros(len(batch), np.bool_), out)
        for table, of_space in zip(self._tables, plan.updates, strict=True):
            table.peek(source, keys, of_space, out)

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
        for place, table in enumerate(self._tables):
            table.settle(undo.tables[place])
            table.compact(self._open_of(place))

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
        spaces = {
            space.name: table.copy(self._open_of(place))
            for place, (space, table) in enumerate(zip(self.spec.spaces, self._tables, strict=True))
        }
        return PartitionRecords(self._open[0].clock_before if self._open else self._clock, spaces)

    def records(self) -> PartitionRecords:
        """The records before the open steps, sorted."""
        return sort_records(self.copy())

    def find(self, card: int) -> dict[str, NDArray[np.uint64]]:
        """The records of a card after all open steps, by key space."""
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

    def _advance(
        self, source: Source, keys: Keys, plan: Plan, undo: Undo, out: NDArray[np.float64]
    ) -> None:
        """Apply the rows, day by day of the clock."""
        first, end, future = 0, len(keys.rows), np.zeros(1, np.int64)
        while first < end:
            last, clock = move_clock(source.times, keys.rows, keys.flags, first, end,
                                     self._clock, future)  # fmt: skip
            day = clock // _SECONDS_A_DAY
            is_new_day = self._clock >= 0 and day != self._clock // _SECONDS_A_DAY
            for table, of_table, of_space in zip(
                self._tables, undo.tables, plan.updates, strict=True
            ):
                if is_new_day:
                    table.enter_day(of_table, day)
                table.update(of_table, source, keys, of_space, first, last, self._clock, out)
            self._clock, first = clock, last
        undo.future = int(future[0])
        for table, of_table in zip(self._tables, undo.tables, strict=True):
            table.finish(of_table)

    def _read_keys(
        self,
        source: Source,
        plan: Plan,
        rows: NDArray[np.int64],
        advances: NDArray[np.bool_],
        out: NDArray[np.float64],
    ) -> Keys:
        n, keys = len(source.times), plan.empty_keys(len(rows))
        if out.shape != (n, len(self.spec.names)) or not out.flags.c_contiguous:
            need = f"[{n}, {len(self.spec.names)}]"
            raise ValueError(f"the output is {list(out.shape)}, not contiguous {need}")
        if advances.shape != (n,):
            raise ValueError(f"advances is {list(advances.shape)}, not [{n}]")
        rows, advances = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(advances)
        if not read_keys(*source, *plan.keys, *keys, rows, advances, self.as_of):
            raise IndexError(f"rows are not in a batch of {n}")
        return keys

    def _plan_for(self, layout: Layout | None) -> Plan:
        if layout is not self._layout:
            self._plan = plan_spec(self.spec, layout)
            self._layout = layout
        return self._plan

    def _open_of(self, place: int) -> list[TableUndo]:
        return [undo.tables[place] for undo in self._open]


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
