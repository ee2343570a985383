"""Puts a program's instructions together, so that few of them do much.

Copies and text codes become runs of columns. A text column whose code and share are both features
is looked up once. A count of missing values is added up while the columns are copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, read_only
from schemas.layout import Layout, number_cells
from stream_scorer.features.interpreter import instructions as kinds
from stream_scorer.features.interpreter.kernel import build_features
from stream_scorer.features.interpreter.tables import (
    OTHER,
    NumberTable,
    NumberTables,
    TextTables,
    build_number_tables,
    build_text_tables,
)

_SHORTEST_RUN: Final = 4
"""Fewer neighbouring columns are copied by their positions."""


class Code(NamedTuple):
    """What the compiled loop reads.

    A row of ``instructions`` is: kind, first feature, number of features (or of operands), first
    operand, and a number of the kind's own. Operands are columns and tables.
    """

    instructions: NDArray[np.uint64]
    operands: NDArray[np.uint64]


class Interpreter:
    """Assembled instructions with their tables. Immutable; threads may share it."""

    def __init__(self, code: Code, texts: TextTables, keyed: NumberTables) -> None:
        self._code = code
        self._texts = texts
        self._keyed = keyed

    def with_code(self, code: Code) -> Interpreter:
        """An interpreter of other instructions with the same tables."""
        return Interpreter(code, self._texts, self._keyed)

    def fill(self, batch: TransactionBatch, out: NDArray[np.float64]) -> None:
        """Compute the assembled features of each row into ``out``, float64 ``[n, features]``."""
        build_features(
            batch.times,
            batch.numbers,
            read_only(batch.text),
            batch.starts,
            batch.lengths,
            self._code,
            self._texts,
            self._keyed,
            np.empty(len(self._texts.base)),
            out,
        )


class _Cell(NamedTuple):
    """A feature that a run may contain: its position, its column, and its table if it has one."""

    out: int
    column: int
    table: int = 0


@dataclass(slots=True)
class _Missing:
    out: int
    numbers: list[int]
    texts: list[int]


@dataclass(slots=True)
class Assembler:
    """Collects instructions; positions are columns of the matrix and of a complete batch.

    With a ``layout`` the interpreter reads batches of that layout instead.
    """

    layout: Layout | None = None
    _instructions: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    _operands: list[int] = field(default_factory=list)
    _texts: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    _numbers: list[NumberTable] = field(default_factory=list)
    _copies: list[_Cell] = field(default_factory=list)
    _codes: list[_Cell] = field(default_factory=list)
    _shares: list[tuple[int, int, Mapping[str, float]]] = field(default_factory=list)
    _missing: list[_Missing] = field(default_factory=list)

    def copy(self, out: int, columns: Iterable[int]) -> None:
        """Number columns, unchanged."""
        cells = self._cells(list(columns))
        self._copies += [_Cell(out + i, cell) for i, cell in enumerate(cells)]

    def text_code(self, out: int, column: int, levels: Sequence[str]) -> None:
        """A text's position in ``levels``."""
        self._codes.append(_Cell(out, column, self._vocabulary(levels)))

    def text_share(self, out: int, column: int, shares: Mapping[str, float]) -> None:
        """What ``shares`` has for a text, else 0."""
        self._shares.append((out, column, shares))

    def text_parts(
        self,
        out: int,
        columns: Sequence[int],
        levels: Sequence[Sequence[str]],
        separators: str,
        is_last: bool,
    ) -> None:
        """The position of a text's part in the column's levels."""
        bits = sum(1 << ord(character) for character in set(separators))
        tables = [self._vocabulary(of_column) for of_column in levels]
        words = [bits & (2**64 - 1), bits >> 64]
        self._emit(kinds.TEXT_PART, out, len(columns), [*columns, *tables, *words], int(is_last))

    def number_shares(
        self, out: int, columns: Sequence[int], tables: Sequence[NumberTable]
    ) -> None:
        """What each column's table has for its number."""
        keyed = [self._keyed(table) for table in tables]
        self._emit(kinds.NUMBER_SHARE, out, len(columns), [*self._cells(columns), *keyed])

    def pair_share(self, out: int, first: int, second: int, table: NumberTable) -> None:
        """What the table has for a pair of numbers."""
        cells = self._cells([first, second])
        self._emit(kinds.PAIR_SHARE, out, 1, [*cells, self._keyed(table)])

    def ratio(self, out: int, column: int, key: int, table: NumberTable) -> None:
        """A number divided by what the table has for the key."""
        cells = self._cells([column, key])
        self._emit(kinds.RATIO, out, 1, [*cells, self._keyed(table)])

    def missing_count(self, out: int, numbers: Sequence[int], texts: Sequence[int]) -> None:
        """How many of these columns are missing."""
        self._missing.append(_Missing(out, self._cells(numbers), list(texts)))

    def missing_pattern(
        self, out: int, numbers: Sequence[int], texts: Sequence[int], table: NumberTable
    ) -> None:
        """The code of which columns are missing, one bit each, the first column in the lowest."""
        operands = [*self._cells(numbers), *texts, self._keyed(table)]
        count = len(numbers) + len(texts)
        self._emit(kinds.MISSING_PATTERN, out, count, operands, len(numbers))

    def minus_day(self, out: int, columns: Sequence[int]) -> None:
        """Numbers minus the day of the transaction."""
        self._emit(kinds.MINUS_DAY, out, len(columns), self._cells(columns))

    def simple(self, kind: np.uint64, out: int, columns: Sequence[int] = ()) -> None:
        """One feature of a few number columns that needs no table."""
        self._emit(kind, out, 1, self._cells(columns))

    def texts_equal(self, out: int, first: int, second: int) -> None:
        """Whether two texts are equal."""
        self._emit(kinds.EQUAL, out, 1, [first, second])

    def build(self, shared: Interpreter | None = None) -> Interpreter:
        """The interpreter; with the tables of ``shared``, which has the same operations.

        Raises:
            ValueError: the keys of a table are not distinct, or were chosen to collide.
        """
        # Copies first: while the look-ups of one row wait for memory, the next row is copied.
        others, self._instructions = self._instructions, []
        largest = max(self._missing, key=lambda m: len(m.numbers) + len(m.texts), default=None)
        numbers, texts = (set(largest.numbers), set(largest.texts)) if largest else (set(), set())
        for run, is_counted in _runs(self._copies, numbers):
            for piece in _pieces(run):
                self._emit_copy(piece, is_counted)
        self._emit_texts(texts)
        self._instructions += others
        for missing in self._missing:
            is_largest = missing is largest
            left = [c for c in missing.numbers if not is_largest or c in numbers]
            texts_left = [c for c in missing.texts if not is_largest or c in texts]
            extra = len(left) << 1 | int(is_largest)
            count = len(left) + len(texts_left)
            self._emit(kinds.MISSING_COUNT, missing.out, count, [*left, *texts_left], extra)
        code = Code(
            np.array(self._instructions, np.uint64).reshape(-1, 5),
            np.array(self._operands, np.uint64),
        )
        if shared is not None:
            return shared.with_code(code)
        return Interpreter(code, build_text_tables(self._texts), build_number_tables(self._numbers))

    def _cells(self, columns: Sequence[int]) -> list[int]:
        return number_cells(self.layout, columns)

    def _emit(
        self, kind: np.uint64, out: int, count: int, operands: Sequence[int], extra: int = 0
    ) -> None:
        self._instructions.append((int(kind), out, count, len(self._operands), extra))
        self._operands += operands

    def _emit_copy(self, run: Sequence[_Cell], is_counted: bool) -> None:
        columns = [cell.column for cell in run]
        if len(run) >= _SHORTEST_RUN and columns[-1] - columns[0] == len(run) - 1:
            self._emit(kinds.COPY_RUN, run[0].out, len(run), columns[:1], int(is_counted))
        else:
            self._emit(kinds.COPY_LIST, run[0].out, len(run), columns, int(is_counted))

    def _emit_texts(self, counted: set[int]) -> None:
        """Codes, with one share of the same column, which the same look-up finds."""
        table_of = {cell.column: cell.table for cell in reversed(self._codes)}
        saved = []
        for out, column, shares in self._shares:
            if (table := table_of.pop(column, None)) is not None:
                known = self._texts[table]
                for level, share in shares.items():
                    known[level] = (known.get(level, (OTHER, 0.0))[0], share)
                saved.append(_Cell(out, column, table))
                continue
            self._texts.append({level: (OTHER, share) for level, share in shares.items()})
            self._emit(kinds.TEXT_SHARE, out, 1, [column, len(self._texts) - 1])
        for run, is_counted in _runs(self._codes, counted):
            operands = [*(cell.column for cell in run), *(cell.table for cell in run)]
            self._emit(kinds.CODE, run[0].out, len(run), operands, int(is_counted))
        for run, _ in _runs(saved, set()):
            tables = [cell.table for cell in run]
            self._emit(kinds.SAVED_SHARE, run[0].out, len(run), tables)

    def _vocabulary(self, levels: Sequence[str]) -> int:
        self._texts.append({level: (float(i), 0.0) for i, level in enumerate(levels)})
        return len(self._texts) - 1

    def _keyed(self, table: NumberTable) -> int:
        self._numbers.append(table)
        return len(self._numbers) - 1


def _runs(cells: Sequence[_Cell], counted: set[int]) -> list[tuple[list[_Cell], bool]]:
    """Neighbouring features, and whether their columns count as missing.

    A column that counts is taken out of ``counted``, so that it counts once.
    """
    runs: list[tuple[list[_Cell], bool]] = []
    for cell in sorted(cells):
        counts = cell.column in counted
        counted.discard(cell.column)
        if runs and runs[-1][0][-1].out == cell.out - 1 and runs[-1][1] == counts:
            runs[-1][0].append(cell)
        else:
            runs.append(([cell], counts))
    return runs


def _pieces(run: Sequence[_Cell]) -> Iterator[list[_Cell]]:
    """Long runs of neighbouring columns by themselves, and what is between them."""
    between: list[_Cell] = []
    numbered = enumerate(run)
    for _, same in groupby(numbered, key=lambda item: item[1].column - item[0]):
        piece = [cell for _, cell in same]
        if len(piece) < _SHORTEST_RUN:
            between += piece
            continue
        if between:
            yield between
        between = []
        yield piece
    if between:
        yield between
