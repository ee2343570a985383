"""What is allowed in a program and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.program import Program


def find_oddities(program: Program) -> Iterator[str]:
    """A sentence for each oddity: features that are computed twice, and misleading names."""
    seen: dict[Operation, str] = {}
    for number, operation in enumerate(program.operations, 1):
        for name, alone in zip(operation.names, _features(operation), strict=True):
            if alone in seen and alone.columns:
                first, columns = seen[alone], " and ".join(alone.columns[:2])
                of = columns if len(alone.columns) <= 2 else f"{len(alone.columns)} columns"
                yield (
                    f"feature {name} of operation {number} ({operation.semantics}) has the same "
                    f"values as {first}: both are {operation.OP} of {of}"
                )
            seen.setdefault(alone, name)
            if _is_column(name) and alone.columns != (name,):
                yield (
                    f"feature {name} of operation {number} ({operation.semantics}) has the name of "
                    "a column that it is not: the reasons of a score would mislead"
                )


def _features(operation: Operation) -> list[Operation]:
    """The operation once for each feature, without names and group, so that equal ones are equal.

    An operation that has one feature for each column is taken apart.
    """
    bare = replace(operation, names=(), group="")
    is_each = operation.COLUMNS[0] == 1 and len(operation.names) == len(operation.columns)
    if is_each:
        return [replace(bare, columns=(column,)) for column in operation.columns]
    if len(operation.names) == 1:
        return [bare]
    return [replace(bare, group=str(i)) for i in range(len(operation.names))]


def _is_column(name: str) -> bool:
    return name in NUMBER_INDEX or name in TEXT_INDEX
