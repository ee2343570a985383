"""What is allowed in a program and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from stream_scorer.features.history.kinds import span_name
from stream_scorer.features.history.spec import KeySpace
from stream_scorer.features.operations.base import Operation
from stream_scorer.features.program import Program

_DAY = 86_400


def find_oddities(program: Program) -> Iterator[str]:
    """A sentence for each oddity: features that are computed twice, and misleading names.

    Of card history: what is remembered for nothing, and what is forgotten too early.
    """
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

    if program.history is not None:
        yield from _history_oddities(program.history.spaces)


def _history_oddities(spaces: Sequence[KeySpace]) -> Iterator[str]:
    keys: dict[tuple[object, ...], str] = {}
    for space in spaces:
        key = (*space.key, space.start_day)
        if key in keys:
            yield (
                f"key space {space.name} has the same key as {keys[key]}: one space with both "
                "lists of features remembers less for the same values"
            )
        keys.setdefault(key, space.name)
        if space.ring and not any(f.feature_kind.needs_ring for f in space.features):
            yield (
                f"key space {space.name} remembers {space.ring} transactions a key, and no feature "
                "reads them: ring = 0 saves their bytes"
            )
        longest = max((s for f in space.features for s in f.seconds), default=0)
        if longest > space.ttl_days * _DAY:
            yield (
                f"key space {space.name} has a feature over {span_name(longest)}, and forgets an "
                f"unused key sooner: ttl_days = {space.ttl_days}"
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
