"""The feature set: a program with its tables, fitted in the trainer and applied everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, empty_batch
from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from stream_scorer.features.interpreter.assembler import Assembler, Interpreter
from stream_scorer.features.operations.reading import Budget
from stream_scorer.features.program import Program, ProgramError, read_program

_KEYS: Final = {"program", "rows", "tables"}
_MAX_ROWS: Final = 2**40  # a double counts further


class FeatureSet:
    """Fitted features. Immutable; its state is plain lists, dicts, strings and numbers.

    Attributes:
        program: the operations.
        rows: the number of training rows.
        tables: what each operation learned, in their order; None for one that learns nothing.
    """

    def __init__(self, program: Program, rows: int, tables: Sequence[Any]) -> None:
        self.program = program
        self.rows = rows
        self.tables = list(tables)

    @classmethod
    def fit(cls, batch: TransactionBatch, program: Program) -> FeatureSet:
        """Learn what the operations need from training rows in the order of time."""
        batch.check_complete()
        fitted = (o.fit(batch).table if o.IS_FITTED else None for o in program.operations)
        return cls(program, len(batch), list(fitted))

    @classmethod
    def fit_transform(
        cls, batch: TransactionBatch, program: Program
    ) -> tuple[FeatureSet, NDArray[np.float64]]:
        """Learn from training rows, and compute their own features.

        The matrix is float64 ``[n, len(names)]``, C order. It is not what :meth:`transform` gives
        for the same rows: a training row sees neither itself nor later rows, as in production.
        The rows must be in the order of time. Features of card history are those that the batch
        has.
        """
        batch.check_complete()
        out = np.empty((len(batch), len(program.names)))
        tables: list[Any] = []
        first = 0
        for operation in program.operations:
            table = None
            if operation.IS_FITTED:
                table, values = operation.fit(batch)
                out[:, first : first + len(operation.names)] = values
            tables.append(table)
            first += len(operation.names)
        _assemble(program, len(batch), tables, with_fitted=False).build().fill(batch, out)
        _fill_history(program, batch, out)
        return cls(program, len(batch), tables), out

    @classmethod
    def unfitted(cls, program: Program) -> FeatureSet:
        """A feature set that was fitted on no rows."""
        return cls.fit(empty_batch(), program)

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in the order of the matrix's columns."""
        return self.program.names

    @property
    def fingerprint(self) -> str:
        """Digest of the meaning of the operations used."""
        return self.program.fingerprint

    @property
    def groups(self) -> dict[str, str]:
        """Feature → group."""
        return self.program.groups

    @property
    def texts(self) -> dict[str, str]:
        """Feature → what it is in words."""
        return self.program.texts

    @property
    def columns(self) -> tuple[str, ...]:
        """The number and text columns that the program reads, in the order of the transaction's."""
        return self.program.columns

    def describe(self, feature: str) -> str:
        """A feature in words.

        Raises:
            KeyError: there is no such feature.
        """
        return self.texts[feature]

    def transform(self, batch: TransactionBatch) -> NDArray[np.float64]:
        """The feature matrix, float64 ``[n, len(names)]``, C order.

        A row's features depend only on that row, the fitted state, and the features of card history
        that the batch has (NaN where it has none). The batch has every column, or those of
        :attr:`layout`.

        Raises:
            ValueError: the batch has other columns, or the history of another spec.
        """
        out = np.empty((len(batch), len(self.names)))
        _fill_history(self.program, batch, out)
        if batch.layout is None:
            self._interpreters[0].fill(batch, out)
        elif batch.layout == self.layout:
            self._interpreters[1].fill(batch, out)
        else:
            raise ValueError("the batch was decoded for another model's features")
        return out

    @cached_property
    def layout(self) -> Layout | None:
        """The number columns that a decoder need keep for :meth:`transform`; None for all.

        They are in the order in which the program first reads them, so that it copies them at
        once.
        """
        used = [c for o in self.program.operations for c in o.columns if c in NUMBER_INDEX]
        if self.program.history is not None:
            used += [c for c in self.program.history.columns if c in NUMBER_INDEX]
        layout = Layout(used)
        return None if layout.is_complete else layout

    @cached_property
    def text_columns(self) -> tuple[int | None, ...]:
        """For each feature the text column whose content a person wants to see as its value."""
        own = tuple(
            operation.text_column(i)
            for operation in self.program.operations
            for i in range(len(operation.names))
        )
        return own + (None,) * (len(self.names) - len(own))

    def level(self, feature: str, code: float) -> str | None:
        """The text behind a feature's code; None for "other", missing, and other features."""
        for operation, table in zip(self.program.operations, self.tables, strict=True):
            if feature in operation.names and code >= 0:
                return operation.level(table, operation.names.index(feature), int(code))
        return None

    def state(self) -> dict[str, Any]:
        """The fitted state as plain data; :meth:`from_state` restores an equal feature set."""
        return {"program": self.program.plain(), "rows": self.rows, "tables": self.tables}

    @classmethod
    def from_state(cls, state: Any) -> FeatureSet:
        """The inverse of :meth:`state`; builds the tables at once, so that bad state fails here.

        Raises:
            UnknownOperationError: the program has an operation that this code does not have.
            ValueError: the state is invalid, or its tables would take too much memory.
        """
        if type(state) is not dict or state.keys() != _KEYS:
            raise ValueError(f"a feature set's state must have {', '.join(sorted(_KEYS))}")
        features = cls(read_program(state["program"]), state["rows"], _as_list(state["tables"]))
        features.check()
        return features

    def check(self) -> None:
        """Check the tables and build the interpreter.

        Raises:
            ValueError: a table does not fit its operation, or they would take too much memory.
        """
        self.check_size()
        try:
            _ = self._interpreters
        except (TypeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"the tables cannot be used: {error!r}") from error

    def check_size(self) -> None:
        """Check that a loader would accept this state; a shared dict or list counts each time.

        Raises:
            ValueError: a table does not fit its operation, or they would take too much memory.
        """
        if type(self.rows) is not int or not 0 <= self.rows <= _MAX_ROWS:
            raise ValueError(f"the number of training rows is not from 0 to {_MAX_ROWS}")
        if len(self.tables) != len(self.program.operations):
            need = len(self.program.operations)
            raise ValueError(f"{len(self.tables)} tables for {need} operations")
        budget = Budget()
        for number, (operation, table) in enumerate(
            zip(self.program.operations, self.tables, strict=True), 1
        ):
            try:
                operation.check_table(table, self.rows, budget)
            except ValueError as error:
                what = f"operation {number} ({operation.semantics})"
                raise ProgramError(f"{what}: {error}") from error

    @cached_property
    def _interpreters(self) -> tuple[Interpreter, Interpreter]:
        """For batches with every column, and for those of the layout; both have the same tables."""
        complete = _assemble(self.program, self.rows, self.tables).build()
        if self.layout is None:
            return complete, complete
        narrow = _assemble(self.program, self.rows, self.tables, self.layout)
        return complete, narrow.build(complete)


def _fill_history(program: Program, batch: TransactionBatch, out: NDArray[np.float64]) -> None:
    """The last columns of ``out``: the features of card history."""
    spec, history = program.history, batch.history
    if spec is None:
        return
    if history is None:
        out[:, len(program.names) - len(spec.names) :] = np.nan
        return
    if history.fingerprint != spec.fingerprint or history.values.shape[1] != len(spec.names):
        raise ValueError("the batch has the card history of another spec than the program")
    out[:, len(program.names) - len(spec.names) :] = history.values


def _as_list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError("the tables of a feature set are not a list")
    return value


def _assemble(
    program: Program,
    rows: int,
    tables: Sequence[Any],
    layout: Layout | None = None,
    *,
    with_fitted: bool = True,
) -> Assembler:
    """The instructions of all operations, or only of those that learn nothing."""
    to = Assembler(layout)
    first = 0
    for operation, table in zip(program.operations, tables, strict=True):
        if with_fitted or not operation.IS_FITTED:
            operation.assemble(table, rows, first, to)
        first += len(operation.names)
    return to
