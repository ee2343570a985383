"""A feature program: an ordered list of operations, as a file or as a part of a bundle.

A program has no jumps, loops or expressions. Its operations read columns of the transaction and
their own tables, and never each other's features, so that there can be no circle.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from schemas.contracts import NUMBER_COLUMNS, TEXT_COLUMNS
from stream_scorer.errors import UsageError
from stream_scorer.features.history.spec import (
    MAX_SPACES,
    FeaturesFault,
    HistorySpec,
    KeySpace,
    read_space,
)
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.reading import FieldFault, Fields, check_name, shown
from stream_scorer.features.operations.registry import UnknownOperation, read_operation
from stream_scorer.features.program_lines import ProgramLines

FORMAT: Final = 1
"""Version of the layout of a program; its operations have versions of their own."""

MAX_OPERATIONS: Final = 512
MAX_FEATURES: Final = 4096
MAX_COLUMNS: Final = 16_384
"""Of all operations together, a column counting in each: what a row costs at most."""

_MAX_FILE_CHARACTERS: Final = 1_000_000
_MAX_TITLE: Final = 200
_MAX_NAME: Final = 80


class ProgramError(UsageError, ValueError):
    """A program that cannot be used; the message names the operation, and the line of a file."""


class UnknownOperationError(ProgramError):
    """A program with an operation that this code does not have."""


@dataclass(frozen=True)
class Program:
    """Operations in the order of their features, and then the features of card history, if any."""

    name: str
    title: str
    operations: tuple[Operation, ...]
    history: HistorySpec | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of the matrix's columns."""
        own = tuple(name for operation in self.operations for name in operation.names)
        return own + (self.history.names if self.history else ())

    @cached_property
    def groups(self) -> dict[str, str]:
        """Feature → group."""
        own = {name: o.group for o in self.operations for name in o.names}
        return own | (self.history.groups if self.history else {})

    @cached_property
    def texts(self) -> dict[str, str]:
        """Feature → what it is in words."""
        own = {name: o.describe(i) for o in self.operations for i, name in enumerate(o.names)}
        return own | (self.history.texts if self.history else {})

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The number and text columns of a transaction that the program reads, in its order.

        The time of the transaction is always read.
        """
        used = {column for operation in self.operations for column in operation.columns}
        used |= set(self.history.columns if self.history else ())
        return tuple(c for c in (*NUMBER_COLUMNS, *TEXT_COLUMNS) if c in used)

    @cached_property
    def semantics(self) -> tuple[str, ...]:
        """The operations used, such as ``share/1``, each once, sorted; and ``history/1``."""
        history = {self.history.semantics} if self.history else set()
        return tuple(sorted({operation.semantics for operation in self.operations} | history))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the meaning of the operations used."""
        return hashlib.sha256(json.dumps([FORMAT, *self.semantics]).encode()).hexdigest()

    def without(self, groups: Iterable[str]) -> Program:
        """The program without the operations and history features of these groups.

        Raises:
            ProgramError: there is no such group, or nothing is left.
        """
        left_out = set(groups)
        known = sorted(set(self.groups.values()))
        for group in sorted(left_out - set(known)):
            raise ProgramError(f"program {self.name} has no group {group!r}; it has {known}")
        kept = tuple(o for o in self.operations if o.group not in left_out)
        if not kept:
            raise ProgramError(f"program {self.name} has no operations without {sorted(left_out)}")
        history = self.history.without(left_out) if self.history else None
        return replace(self, operations=kept, history=history)

    def with_min_count(self, min_count: int) -> Program:
        """The program with another ``min_count`` in all operations that have one."""
        changed = tuple(operation.with_min_count(min_count) for operation in self.operations)
        return replace(self, operations=changed)

    def plain(self) -> dict[str, Any]:
        """The program as plain data, from which :func:`read_program` builds an equal one."""
        history = {"history": self.history.plain()} if self.history else {}
        return {
            "format": FORMAT,
            "name": self.name,
            "title": self.title,
            "operations": [operation.plain() for operation in self.operations],
            **history,
        }


def read_program(plain: Any) -> Program:
    """A program from plain data that anyone may have written.

    Raises:
        ProgramError: it is not a program; the message names the operation.
    """
    needed = {"format", "name", "title", "operations"}
    if type(plain) is not dict or plain.keys() - {"history"} != needed:
        raise ProgramError("a program must have format, name, title and operations")
    return _read(plain, plain["operations"], plain.get("history"), ProgramLines("", ""))


def parse_program(text: str, source: str = "program") -> Program:
    """A program from a file's text; ``source`` is the file's name for messages.

    Raises:
        ProgramError: the file is not TOML or not a program; the message names the line.
    """
    if len(text) > _MAX_FILE_CHARACTERS:
        raise ProgramError(f"{source}: longer than {_MAX_FILE_CHARACTERS} characters")
    try:
        plain = tomllib.loads(text)
    except RecursionError:
        raise ProgramError(f"{source}: values are nested too deeply") from None
    except (tomllib.TOMLDecodeError, ValueError) as error:  # a number may be too long to convert
        raise ProgramError(f"{source} is not valid TOML: {error}") from error
    lines = ProgramLines(text, source)
    operations, history = plain.pop("operation", None), plain.pop("history", None)
    for key in plain.keys() - {"format", "name", "title"}:
        where = lines.of_key(key)
        raise ProgramError(f"{where}: {shown(key)} is not a field of a program")
    return _read(plain, operations, history, lines)


def _read(plain: Mapping[str, Any], operations: Any, history: Any, lines: ProgramLines) -> Program:
    fields = Fields(dict(plain))
    try:
        if fields.integer("format", 0, 2**31) != FORMAT:
            found = shown(plain["format"])
            raise FieldFault("format", f"this code reads programs of format {FORMAT}, not {found}")
        name, title = _read_name(fields.text("name")), fields.text("title")
        if len(title) > _MAX_TITLE:
            raise FieldFault("title", f"is longer than {_MAX_TITLE} characters")
    except FieldFault as fault:
        raise ProgramError(f"{lines.of_key(fault.field_name)}: {fault}") from fault
    if type(operations) is not list or not 0 < len(operations) <= MAX_OPERATIONS:
        need = f"a program needs 1 to {MAX_OPERATIONS} operations, each under [[operation]]"
        raise ProgramError(f"{lines.of_key('operation')}: {need}")
    program = Program(name, title, tuple(_read_operations(operations, lines)))
    return program if history is None else _add_history(program, history, lines)


def _add_history(program: Program, history: Any, lines: ProgramLines) -> Program:
    """The program with its key spaces."""
    if type(history) is not list or not 0 < len(history) <= MAX_SPACES:
        need = f"card history needs 1 to {MAX_SPACES} key spaces, each under [[history]]"
        raise ProgramError(f"{lines.of_key('history')}: {need}")
    spaces: list[KeySpace] = []
    taken = dict.fromkeys(program.names, "an operation")
    for number, plain in enumerate(history, 1):
        try:
            space = read_space(plain)
            if space.name in [other.name for other in spaces]:
                raise FieldFault("space", f"{space.name} occurs twice", space.name)
            for name, *_ in space.named:
                if name in taken:
                    raise FieldFault("space", f"feature {name} is already one of {taken[name]}")
                taken[name] = f"key space {space.name}"
            if len(taken) > MAX_FEATURES:
                raise FieldFault("features", f"the program has more than {MAX_FEATURES} features")
        except FieldFault as fault:
            raise _space_fault(fault, number, lines) from fault
        spaces.append(space)
    return replace(program, history=HistorySpec(tuple(spaces)))


def _space_fault(fault: FieldFault, number: int, lines: ProgramLines) -> ProgramError:
    listed = fault.listed if isinstance(fault, FeaturesFault) else None
    where = lines.of_space(number, fault.field_name, fault.value, listed)
    prefix = f"{where}, " if where else ""
    of_features = f", features {listed}" if listed is not None else ""
    return ProgramError(f"{prefix}key space {number}{of_features}: {fault}")


def _read_name(name: str) -> str:
    stem, slash, number = name.rpartition("/")
    is_number = number.isascii() and number.isdigit() and not number.startswith("0")
    if not slash or not is_number or len(name) > _MAX_NAME:
        rule = "must be a name and a number, such as default/1"
        raise FieldFault("name", f"{shown(name)} {rule}")
    check_name("name", stem.replace("-", "_"))
    return name


def _read_operations(operations: list[Any], lines: ProgramLines) -> list[Operation]:
    found: list[Operation] = []
    origin: dict[str, int] = {}
    columns = 0
    for number, plain in enumerate(operations, 1):
        try:
            operation = read_operation(plain)
            for name in operation.names:
                if name in origin:
                    twice = f"feature {name} is already one of operation {origin[name]}"
                    raise FieldFault("names", twice, name)
                origin[name] = number
            columns += len(operation.columns)
            if len(origin) > MAX_FEATURES:
                raise FieldFault("columns", f"the program has more than {MAX_FEATURES} features")
            if columns > MAX_COLUMNS:
                raise FieldFault("columns", f"all operations read more than {MAX_COLUMNS} columns")
        except FieldFault as fault:
            raise _fault(fault, number, plain, origin, lines) from fault
        found.append(operation)
    return found


def _fault(
    fault: FieldFault, number: int, plain: Any, origin: Mapping[str, int], lines: ProgramLines
) -> ProgramError:
    op, version = (plain.get("op"), plain.get("version")) if type(plain) is dict else (None, None)
    is_named = type(op) is str and type(version) is int
    what = f"operation {number} ({shown(op).strip(chr(39))}/{version})" if is_named else None
    where = lines.of_field(number, fault.field_name, fault.value)
    hint = ""
    feature = fault.value if isinstance(fault.value, str) else ""
    if fault.field_name == "columns" and feature in origin:
        hint = (
            f"; it is a feature of operation {origin[feature]}, and operations read only columns "
            "of the transaction"
        )
    kind = UnknownOperationError if isinstance(fault, UnknownOperation) else ProgramError
    prefix = f"{where}, " if where else ""
    return kind(f"{prefix}{what or f'operation {number}'}: {fault}{hint}")
