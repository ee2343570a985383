"""Programs and operations as plain data for people and for ``--json``."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, Final

from schemas.contracts import NUMBER_INDEX
from stream_scorer.features.history.header import WORD_BYTES
from stream_scorer.features.history.kinds import KINDS
from stream_scorer.features.history.spec import SEMANTICS, HistorySpec
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.operations.registry import OPERATIONS
from stream_scorer.features.program import Program, ProgramError

_TYPES: Final = {"int": "whole number", "str": "text", "tuple[str, ...]": "list of texts"}
_SHARED: Final = ("group", "columns", "names")


def describe_program(program: Program) -> dict[str, Any]:
    """Name, title, and what the program reads and computes."""
    numbers = [column for column in program.columns if column in NUMBER_INDEX]
    return {
        "name": program.name,
        "title": program.title,
        "features": len(program.names),
        "columns": {
            "number": len(numbers),
            "text": len(program.columns) - len(numbers),
            "names": list(program.columns),
        },
        "groups": {group: len(features) for group, features in group_features(program).items()},
        "operations": list(program.semantics),
        "fingerprint": program.fingerprint,
        "history": describe_history(program.history),
    }


def describe_history(spec: HistorySpec | None) -> dict[str, Any] | None:
    """The key spaces of a program's card history, and the bytes of a record; None without any."""
    if spec is None:
        return None
    spaces = [
        {
            "space": space.name,
            "key": list(space.key),
            "start_day": space.start_day,
            "ttl_days": space.ttl_days,
            "ring": space.ring,
            "bytes_a_key": WORD_BYTES * space.width,
            "features": [name for name, *_ in space.named],
        }
        for space in spec.spaces
    ]
    return {"fingerprint": spec.fingerprint, "features": len(spec.names), "spaces": spaces}


def group_features(program: Program) -> dict[str, list[str]]:
    """Group → its features, in the order of the program."""
    found: dict[str, list[str]] = {}
    for feature, group in program.groups.items():
        found.setdefault(group, []).append(feature)
    return found


def describe_features(program: Program, group: str | None = None) -> list[dict[str, str]]:
    """Each feature with its group, its operation and what it is in words.

    Those of card history come last, as in the matrix.

    Raises:
        ProgramError: the program has no such group.
    """
    groups = group_features(program)
    if group is not None and group not in groups:
        known = ", ".join(groups)
        raise ProgramError(f"program {program.name} has no group {group!r}; it has {known}")
    origin = {name: o.semantics for o in program.operations for name in o.names}
    return [
        {
            "name": name,
            "group": program.groups[name],
            "operation": origin.get(name, SEMANTICS),
            "text": program.texts[name],
        }
        for name in program.names
        if group in (None, program.groups[name])
    ]


def count_fitted(program: Program) -> dict[str, int]:
    """Operation that learns from the training rows → the number of its features."""
    found: dict[str, int] = {}
    for operation in program.operations:
        if operation.IS_FITTED:
            found[operation.semantics] = found.get(operation.semantics, 0) + len(operation.names)
    return found


def describe_operations() -> list[dict[str, Any]]:
    """Every operation that a program can use: its fields, and what it computes."""
    return [_describe_operation(operation) for operation in OPERATIONS.values()]


def describe_kinds() -> list[dict[str, str]]:
    """Every kind of history feature: what it is given, and what it computes."""
    return [
        {
            "kind": name,
            "takes": kind.takes.value,
            "name": kind.name.format("…"),
            "text": kind.text.format("…"),
        }
        for name, kind in KINDS.items()
    ]


def _describe_operation(operation: type[Operation]) -> dict[str, Any]:
    least, most = operation.COLUMNS
    own = [
        {"name": field.name, "type": _TYPES.get(str(field.type), str(field.type))}
        for field in fields(operation)
        if field.name not in _SHARED
    ]
    return {
        "op": operation.OP,
        "version": operation.VERSION,
        "meaning": _prose(operation),
        "is_fitted": operation.IS_FITTED,
        "columns": {"least": least, "most": most, "kinds": [str(kind) for kind in operation.KINDS]},
        "fields": own,
        "fields_meaning": _prose(operation.read_own) if own else "",
        "names": _prose(operation.default_names),
    }


def _prose(documented: object) -> str:
    """A docstring as text: paragraphs without line ends and without markup."""
    text = (inspect.getdoc(documented) or "").replace("``", "")
    return "\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
