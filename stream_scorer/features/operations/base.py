"""What every operation is: fields, names, how it learns, and which instructions it becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from stream_scorer.features.interpreter.assembler import Assembler
from stream_scorer.features.operations.columns import ColumnFault, Kind, expand
from stream_scorer.features.operations.reading import (
    MAX_LISTED,
    Budget,
    FieldFault,
    Fields,
    check_name,
)

MAX_MIN_COUNT: Final = 1_000_000


class Learned(NamedTuple):
    """What fitting gives: the table that is served, and the training rows' features.

    ``values`` is float64 ``[n, features]``; in a row it depends on earlier rows only.
    """

    table: Any
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Operation(ABC):
    """One step of a program: it computes a few features from columns of the same transaction.

    An operation's name and version stand for a meaning that never changes. A change of meaning is
    a new version, and both stay.
    """

    OP: ClassVar[str]
    VERSION: ClassVar[int] = 1
    KINDS: ClassVar[tuple[Kind, ...]]
    COLUMNS: ClassVar[tuple[int, int]] = (1, MAX_LISTED)
    """How many columns it reads, at least and at most."""
    IS_FITTED: ClassVar[bool] = False
    """Whether it learns a table from the training rows."""

    group: str
    columns: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def read(cls, source: Fields) -> Self:
        """An operation from plain data.

        Raises:
            FieldFault: a field is missing, wrong or unknown.
        """
        group = source.name("group")
        columns = cls._read_columns(source)
        given = source.texts("names", required=False)
        own = cls.read_own(source)
        source.finish()
        operation = cls(group, columns, (), **own)
        defaults = operation.default_names()
        names = tuple(given) if given is not None else tuple(defaults)
        if len(names) != len(defaults):
            need = f"has {len(names)} names for {len(defaults)} features"
            raise FieldFault("names", need)
        for name in names:
            check_name("names", name)
        if (fault := operation.fault()) is not None:
            raise fault
        return replace(operation, names=names)

    @classmethod
    def _read_columns(cls, source: Fields) -> tuple[str, ...]:
        least, most = cls.COLUMNS
        if not most:
            return ()
        given = source.texts("columns", required=least > 0) or []
        try:
            columns = expand(given, cls.KINDS)
        except ColumnFault as fault:
            raise FieldFault("columns", str(fault), fault.column) from fault
        if not least <= len(columns) <= most:
            need = str(least) if least == most else f"{least} to {most}"
            raise FieldFault("columns", f"{len(columns)} columns, where {cls.OP} needs {need}")
        return columns

    @classmethod
    def read_own(cls, source: Fields) -> dict[str, Any]:  # noqa: ARG003 -- most have none
        """The fields that only this operation has."""
        return {}

    def fault(self) -> FieldFault | None:
        """Why the fields do not fit together; None if they do."""
        return None

    def plain(self) -> dict[str, Any]:
        """The fields as plain data, from which :meth:`read` builds an equal operation."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        own = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items() if v != ()}
        return {"op": self.OP, "version": self.VERSION, **own}

    def with_min_count(self, min_count: int) -> Self:
        """The operation with another ``min_count``, if it has one."""
        own = {f.name for f in fields(self)}
        changes: dict[str, Any] = {"min_count": min_count} if "min_count" in own else {}
        return replace(self, **changes)

    @property
    def semantics(self) -> str:
        """Name and version."""
        return f"{self.OP}/{self.VERSION}"

    @abstractmethod
    def default_names(self) -> Sequence[str]:
        """The features' names where the program gives none."""

    @abstractmethod
    def describe(self, feature: int) -> str:
        """One of the features in words."""

    @abstractmethod
    def assemble(self, table: Any, rows: int, out: int, to: Assembler) -> None:
        """Add the instructions, the first feature being the matrix's column ``out``.

        ``table`` is None for an operation that is not fitted.
        """

    def fit(self, batch: TransactionBatch) -> Learned:
        """Learn from rows in the order of time, without showing a row itself or a later one."""
        raise NotImplementedError(f"{self.OP} learns nothing from {len(batch)} rows")

    def check_table(self, table: Any, rows: int, budget: Budget) -> None:  # noqa: ARG002
        """Check a table that comes from a file; ``rows`` is the number of training rows.

        Raises:
            ValueError: it is not a table of this operation.
        """
        if table is not None:
            raise ValueError(f"{self.OP} has no table")

    def text_column(self, feature: int) -> int | None:  # noqa: ARG002 -- most show a number
        """The text column whose content a person wants to see as this feature's value."""
        return None

    def level(self, table: Any, feature: int, code: int) -> str | None:  # noqa: ARG002
        """The text behind a code; None if the feature is not a code."""
        return None


def numbers(columns: Sequence[str]) -> list[int]:
    """Positions of number columns in a batch."""
    return [NUMBER_INDEX[name] for name in columns]


def texts(columns: Sequence[str]) -> list[int]:
    """Positions of text columns in a batch."""
    return [TEXT_INDEX[name] for name in columns]
