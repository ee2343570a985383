"""A program as the text of a file, so that it can be changed and trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.contracts import TRANSACTION_COLUMNS
from stream_scorer.features.history.spec import KeySpace
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.columns import RANGE
from stream_scorer.features.program import FORMAT, Program

_WIDTH: Final = 100
_SHORTEST_RANGE: Final = 3
_PLACES: Final = {name: i for i, name in enumerate(TRANSACTION_COLUMNS)}


def program_text(program: Program) -> str:
    """The program in TOML; :func:`parse_program` gives an equal program."""
    head = f"format = {FORMAT}\nname = {_value(program.name)}\ntitle = {_value(program.title)}\n"
    history = program.history
    spaces = [] if history is None else list(map(_space_text, history.spaces))
    return "\n".join([head, *map(_operation_text, program.operations), *spaces])


def _space_text(space: KeySpace) -> str:
    fields = space.plain()
    del fields["features"]
    parts = ["[[history]]\n" + _lines(fields)]
    for features in space.features:
        own = features.plain()
        if features.columns:
            own["columns"] = ranges(features.columns)
        parts.append("[[history.features]]\n" + _lines(own))
    return "\n".join(parts)


def _operation_text(operation: Operation) -> str:
    fields = operation.plain()
    if list(operation.names) == list(operation.default_names()):
        del fields["names"]
    if operation.columns:
        fields["columns"] = ranges(operation.columns)
    return "[[operation]]\n" + _lines(fields)


def _lines(fields: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_field(name, value)}\n" for name, value in fields.items())


def ranges(columns: Sequence[str]) -> list[str]:
    """Columns, with ``first..last`` for those that follow each other in the schema."""
    found: list[str] = []
    start = 0
    for end in range(1, len(columns) + 1):
        if end < len(columns) and _PLACES[columns[end]] == _PLACES[columns[end - 1]] + 1:
            continue
        run = columns[start:end]
        found += [f"{run[0]}{RANGE}{run[-1]}"] if len(run) >= _SHORTEST_RANGE else run
        start = end
    return found


def _field(name: str, value: Any) -> str:
    if not isinstance(value, list):
        return _value(value)
    items = list(map(_value, value))
    line = f"[{', '.join(items)}]"
    if len(name) + len(" = ") + len(line) <= _WIDTH:
        return line
    lines = [" "]
    for item in items:
        if len(lines[-1]) + len(item) + len(" ,") > _WIDTH:
            lines.append(" ")
        lines[-1] += f" {item},"
    return "[\n" + "\n".join(lines) + "\n]"


def _value(value: str | int) -> str:
    """A text or a number; whatever is not printable is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
