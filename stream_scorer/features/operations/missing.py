"""Operations on which columns are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.interpreter.assembler import Assembler
from stream_scorer.features.interpreter.tables import OTHER, NumberTable
from stream_scorer.features.operations.base import (
    MAX_MIN_COUNT,
    Learned,
    Operation,
    numbers,
    texts,
)
from stream_scorer.features.operations.columns import Kind, kind_of
from stream_scorer.features.operations.keys import learn_codes
from stream_scorer.features.operations.reading import Budget, Fields, check_levels

MAX_PATTERN_COLUMNS: Final = 128
"""A pattern is two words of 64 bits."""

_WORD: Final = 64
_PRESENT, _MISSING = ".", "m"


@dataclass(frozen=True)
class MissingCount(Operation):
    """How many of the columns are missing, texts and numbers alike."""

    OP: ClassVar[str] = "missing_count"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER, Kind.TEXT)

    def default_names(self) -> Sequence[str]:
        """``missing_count``."""
        return ["missing_count"]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """What is counted."""
        return f"number of missing columns ({_among(self.columns)})"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """A count that copies and codes help with."""
        of_numbers, of_texts = _split(self.columns)
        to.missing_count(out, numbers(of_numbers), texts(of_texts))


@dataclass(frozen=True)
class MissingPattern(Operation):
    """Which of the columns are missing, as a code of a learned vocabulary like that of ``code``.

    A level is one combination of present and missing columns, and is never missing itself. Columns
    of one origin are missing together, so that the combination says where a record came from.
    """

    OP: ClassVar[str] = "missing_pattern"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.NUMBER, Kind.TEXT)
    COLUMNS: ClassVar[tuple[int, int]] = (1, MAX_PATTERN_COLUMNS)
    IS_FITTED: ClassVar[bool] = True

    min_count: int

    @classmethod
    def read_own(cls, source: Fields) -> dict[str, Any]:
        """How often a combination must be seen before it gets a code."""
        return {"min_count": source.integer("min_count", 1, MAX_MIN_COUNT)}

    def default_names(self) -> Sequence[str]:
        """``missing_pattern``."""
        return ["missing_pattern"]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """What the pattern is of."""
        return f"which columns are missing ({_among(self.columns)})"

    def fit(self, batch: TransactionBatch) -> Learned:
        """Patterns in the order in which they were seen ``min_count`` times."""
        of_numbers, of_texts = _split(self.columns)
        is_missing = np.hstack(
            [
                np.isnan(batch.numbers[:, numbers(of_numbers)]),
                batch.lengths[:, texts(of_texts)] < 0,
            ]
        )
        rows = np.ascontiguousarray(np.packbits(is_missing, axis=1))
        whole = rows.view(f"V{rows.shape[1]}")[:, 0]
        patterns, first, keys = np.unique(whole, return_index=True, return_inverse=True)
        codes = learn_codes(keys.astype(np.int64), len(patterns), self.min_count)
        table = [_spell(is_missing[row]) for row in first[codes.keys].tolist()]
        return Learned(table, codes.values[:, np.newaxis])

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:  # noqa: ARG002
        """Patterns: one character for each column, first the numbers and then the texts."""
        for pattern in check_levels(table, budget):
            if len(pattern) != len(self.columns) or set(pattern) - {_PRESENT, _MISSING}:
                need = f"{len(self.columns)} characters {_PRESENT} and {_MISSING}"
                raise ValueError(f"a pattern of missing columns is not {need}")

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One look-up."""
        of_numbers, of_texts = _split(self.columns)
        bits = [sum((c == _MISSING) << i for i, c in enumerate(pattern)) for pattern in table]
        first = np.array([b & (2**_WORD - 1) for b in bits], np.uint64)
        second = np.array([b >> _WORD for b in bits], np.uint64)
        patterns = NumberTable(first, second, np.arange(len(bits), dtype=np.float64), OTHER)
        to.missing_pattern(out, numbers(of_numbers), texts(of_texts), patterns)

    def level(self, table: Any, feature: int, code: int) -> str | None:  # noqa: ARG002
        """The pattern."""
        patterns: list[str] = table
        return patterns[code] if 0 <= code < len(patterns) else None


def _split(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    of_numbers = [column for column in columns if kind_of(column) is Kind.NUMBER]
    return of_numbers, [column for column in columns if kind_of(column) is Kind.TEXT]


def _spell(is_missing: NDArray[np.bool_]) -> str:
    return "".join(_MISSING if cell else _PRESENT for cell in is_missing.tolist())


def _among(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else f"{columns[0]} to {columns[-1]}, {len(columns)}"
