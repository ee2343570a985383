"""Operations on text columns: codes of levels, parts of texts, equality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from schemas.batch import TransactionBatch
from stream_scorer.features.interpreter.assembler import Assembler
from stream_scorer.features.interpreter.kernel import parts_of
from stream_scorer.features.interpreter.tables import MAX_LEVEL_BYTES
from stream_scorer.features.operations.base import MAX_MIN_COUNT, Learned, Operation, texts
from stream_scorer.features.operations.columns import Kind, describe_column
from stream_scorer.features.operations.keys import (
    TextKeys,
    column_text_keys,
    learn_codes,
    text_keys,
)
from stream_scorer.features.operations.reading import (
    Budget,
    FieldFault,
    Fields,
    check_levels,
    check_list,
    shown,
)


@dataclass(frozen=True)
class _Coded(Operation):
    """Codes from a vocabulary that is learned for each column."""

    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.TEXT,)
    IS_FITTED: ClassVar[bool] = True

    min_count: int

    @classmethod
    def read_own(cls, source: Fields) -> dict[str, Any]:
        """How often a level must be seen before it gets a code."""
        return {"min_count": source.integer("min_count", 1, MAX_MIN_COUNT)}

    def _keys(self, batch: TransactionBatch, column: int) -> TextKeys:
        return column_text_keys(batch, column)

    def fit(self, batch: TransactionBatch) -> Learned:
        """Levels in the order in which they were seen ``min_count`` times."""
        table: list[list[str]] = []
        values = np.empty((len(batch), len(self.columns)))
        for i, column in enumerate(texts(self.columns)):
            keys, levels = self._keys(batch, column)
            codes = learn_codes(keys, len(levels), self.min_count)
            table.append([levels[key] for key in codes.keys.tolist()])
            values[:, i] = codes.values
        return Learned(table, values)

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:  # noqa: ARG002
        """A list of levels for each column."""
        for levels in check_list(table, len(self.columns)):
            check_levels(levels, budget)

    def text_column(self, feature: int) -> int | None:
        """The column."""
        return texts(self.columns)[feature]

    def level(self, table: Any, feature: int, code: int) -> str | None:
        """The level at this position of the vocabulary."""
        levels: list[str] = table[feature]
        return levels[code] if 0 <= code < len(levels) else None


@dataclass(frozen=True)
class Code(_Coded):
    """Text columns as codes of a learned vocabulary.

    A level gets the next code, from 0 on, at the row in which it has been seen ``min_count``
    times, and later rows use it. Before that, and for levels that were rare or never seen, the
    feature is -1. It is NaN where the text is missing. A string of more than 256 bytes is no
    level. The served vocabulary is the one after the last training row.
    """

    OP: ClassVar[str] = "code"

    def default_names(self) -> Sequence[str]:
        """The columns' own names."""
        return self.columns

    def describe(self, feature: int) -> str:
        """The column in words."""
        return describe_column(self.columns[feature])

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """A look-up for each column."""
        for i, column in enumerate(texts(self.columns)):
            to.text_code(out + i, column, table[i])


@dataclass(frozen=True)
class TextPart(_Coded):
    """A part of each text, as a code of a learned vocabulary like that of ``code``.

    ``part`` is ``first``, the text before the first of the ``separators``, or ``last``, the text
    after the last one; without a separator it is the whole text. Spaces at its ends are left out.
    So e-mail provider and suffix, the maker of a device and the family of a browser become
    features. Source: published solutions of the IEEE-CIS competition, which split these columns.
    """

    OP: ClassVar[str] = "text_part"

    separators: str
    part: str

    @classmethod
    def read_own(cls, source: Fields) -> dict[str, Any]:
        """Which part, and what separates parts."""
        separators = source.text("separators")
        if not separators or not separators.isascii() or len(set(separators)) != len(separators):
            must = "must be one or more different ASCII characters"
            raise FieldFault("separators", f"{must}, not {shown(separators)}")
        part = source.choice("part", ("first", "last"))
        return {**super().read_own(source), "separators": separators, "part": part}

    def default_names(self) -> Sequence[str]:
        """Such as ``P_emaildomain_first``."""
        return [f"{column}_{self.part}" for column in self.columns]

    def describe(self, feature: int) -> str:
        """The column in words, and which part."""
        return f"{self.part} part of the {describe_column(self.columns[feature])}"

    def _keys(self, batch: TransactionBatch, column: int) -> TextKeys:
        text = np.ascontiguousarray(batch.text)
        starts = np.empty(len(batch), np.int64)
        lengths = np.empty(len(batch), np.int32)
        bits = sum(1 << ord(character) for character in self.separators)
        low, high = np.uint64(bits & (2**64 - 1)), np.uint64(bits >> 64)
        is_last = self.part == "last"
        begin = np.ascontiguousarray(batch.starts[:, column])
        size = np.ascontiguousarray(batch.lengths[:, column])
        parts_of(text, begin, size, low, high, is_last, starts, lengths)
        return text_keys(text, starts, lengths)

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """A look-up for each column."""
        is_last = self.part == "last"
        to.text_parts(out, texts(self.columns), table, self.separators, is_last)


@dataclass(frozen=True)
class LevelCode(Operation):
    """Text columns as positions in a list of levels that the program declares.

    Nothing is learned: the feature is the position of the text in ``levels``, -1 for another text,
    and NaN where the text is missing.
    """

    OP: ClassVar[str] = "level_code"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.TEXT,)

    levels: tuple[str, ...]

    @classmethod
    def read_own(cls, source: Fields) -> dict[str, Any]:
        """The levels, in the order of their codes."""
        levels = source.texts("levels") or []
        for level in levels:
            if len(level.encode("utf-8", "surrogatepass")) > MAX_LEVEL_BYTES:
                raise FieldFault("levels", f"a level is over {MAX_LEVEL_BYTES} bytes", level)
            if any("\ud800" <= character <= "\udfff" for character in level):
                raise FieldFault("levels", f"{shown(level)} is not valid text", level)
        if len(set(levels)) != len(levels):
            twice = next(level for level in levels if levels.count(level) > 1)
            raise FieldFault("levels", f"{shown(twice)} occurs twice", twice)
        return {"levels": tuple(levels)}

    def default_names(self) -> Sequence[str]:
        """The columns' own names."""
        return self.columns

    def describe(self, feature: int) -> str:
        """The column in words."""
        return describe_column(self.columns[feature])

    def text_column(self, feature: int) -> int | None:
        """The column."""
        return texts(self.columns)[feature]

    def level(self, table: Any, feature: int, code: int) -> str | None:  # noqa: ARG002
        """The declared level."""
        return self.levels[code] if 0 <= code < len(self.levels) else None

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:
        """Nothing was learned, but each column gets a table of the declared levels."""
        super().check_table(table, rows, budget)
        characters = sum(map(len, self.levels))
        budget.use(len(self.columns) * len(self.levels), len(self.columns) * characters)

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """A look-up for each column."""
        for i, column in enumerate(texts(self.columns)):
            to.text_code(out + i, column, self.levels)


@dataclass(frozen=True)
class Equal(Operation):
    """1 if two texts have the same bytes, 0 if not, NaN where either is missing."""

    OP: ClassVar[str] = "equal"
    KINDS: ClassVar[tuple[Kind, ...]] = (Kind.TEXT,)
    COLUMNS: ClassVar[tuple[int, int]] = (2, 2)

    def default_names(self) -> Sequence[str]:
        """Such as ``P_emaildomain_equals_R_emaildomain``."""
        return ["_equals_".join(self.columns)]

    def describe(self, feature: int) -> str:  # noqa: ARG002
        """Both columns in words."""
        first, second = map(describe_column, self.columns)
        return f"whether {first} and {second} are equal"

    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:  # noqa: ARG002
        """One value."""
        to.texts_equal(out, *texts(self.columns))
