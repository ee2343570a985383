"""Turns a writer's schema into tables for the compiled loop.

A transaction's schema is flat: primitives, and unions of primitives. Such a schema becomes a
:class:`DecodePlan`. Records with a nested schema, or with decimals or enums in our columns, are
read one by one by the reference decoder instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.avro.logical import read_scales
from schemas.contracts import (
    AMOUNT,
    EVENT_TIME,
    ID,
    NUMBER_INDEX,
    TEXT_INDEX,
    TIME,
    AvroSchema,
)
from schemas.lookalikes import describe_object
from schemas.writer_schema import UnreadableSchema, parse_writer


class FieldKind(IntEnum):
    """How a value is encoded (Avro specification, "Binary Encoding")."""

    NULL = 0
    BOOLEAN = 1
    VARINT = 2
    FLOAT = 3
    DOUBLE = 4
    BYTES = 5
    FIXED = 6


class Target(IntEnum):
    """The column type a value is written to."""

    SKIP = 0
    ID = 1
    TIME = 2
    EVENT_TIME = 3
    NUMBER = 4
    TEXT = 5


class Run(IntEnum):
    """The kind of a run of neighbouring fields that one short loop can read."""

    GENERAL = 0
    DOUBLES = 1  # nullable doubles, each with a column
    STRINGS = 2  # nullable strings, each with a column


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """One writer's schema, flattened.

    Arrays over the writer's fields: ``target``, ``slot`` (column within the target), ``first``
    (index of its first branch, one more entry than fields), ``is_union``. Arrays over branches:
    ``kind``, ``size`` (bytes of a fixed, symbols of an enum), ``usable`` (the branch resolves to
    the reader's type). ``names`` are the writer's field names, for error messages.

    Arrays over runs of fields: ``run_first`` (one more entry than runs), ``run_kind``,
    ``run_null`` (the byte of the union index of null), ``run_room`` (bytes that must be available
    to read the run without bounds checks). ``absent_numbers`` and ``absent_texts`` are the columns
    that the writer does not have.
    """

    names: tuple[str, ...]
    target: NDArray[np.int8]
    slot: NDArray[np.uint32]
    is_union: NDArray[np.bool_]
    first: NDArray[np.int32]
    kind: NDArray[np.int8]
    size: NDArray[np.int64]
    usable: NDArray[np.bool_]
    run_first: NDArray[np.int64]
    run_kind: NDArray[np.int8]
    run_null: NDArray[np.uint64]
    run_room: NDArray[np.int64]
    absent_numbers: NDArray[np.int64]
    absent_texts: NDArray[np.int64]


class ReferencePlan(NamedTuple):
    """One writer's schema for the reference decoder.

    ``usable`` lists for each field which of its branches resolve to the reader's type; ``scales``
    are those of the number columns that are decimals.
    """

    schema: AvroSchema
    usable: tuple[list[bool], ...]
    scales: dict[str, int]


_MAX_RUN_BYTES: Final = {Run.GENERAL: 0, Run.DOUBLES: 9, Run.STRINGS: 2 + 63}
"""The most bytes of a field, with its union index; a longer string leaves the short loop."""

_PRIMITIVES: Final = {
    "null": FieldKind.NULL,
    "boolean": FieldKind.BOOLEAN,
    "int": FieldKind.VARINT,
    "long": FieldKind.VARINT,
    "float": FieldKind.FLOAT,
    "double": FieldKind.DOUBLE,
    "string": FieldKind.BYTES,
    "bytes": FieldKind.BYTES,
}
# Avro specification, "Schema Resolution": what may be promoted to what.
_PROMOTES: Final = {
    Target.ID: {"int", "long"},
    Target.TIME: {"int", "long"},
    Target.EVENT_TIME: {"int", "long", "null"},
    Target.NUMBER: {"int", "long", "float", "double", "null"},
    # By the specification an enum is no string; its symbol is the text that its writer means.
    Target.TEXT: {"string", "bytes", "enum", "null"},
}


def build_plan(schema: AvroSchema) -> DecodePlan | ReferencePlan:
    """The plan for a writer's schema; the reference decoder's if the compiled loop cannot read it.

    The record's name is not compared: producers have their own namespaces, and the name cannot
    change the meaning of the fields.

    Raises:
        UnreadableSchema: the schema is not a record, lacks a required field, has a type that cannot
            be resolved to ours, or is refused by :func:`schemas.writer_schema.parse_writer`.
    """
    parsed, scales = parse_writer(schema), read_scales(schema)
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise UnreadableSchema("the writer's schema is not a record")
    fields = parsed["fields"]
    names = [f["name"] for f in fields]
    if missing := [n for n in (ID, TIME, AMOUNT) if n not in names]:
        hint = describe_object({f["name"]: _inner_names(f["type"]) for f in fields})
        raise UnreadableSchema(f"the writer's schema has no {', '.join(missing)}{hint}")
    named: dict[str, Any] = {}
    resolved = [_resolve(field, named, scales) for field in fields]
    if not all(field.is_flat for field in resolved):
        # A missing value is not a value of the wrong type: which columns may be null is ours.
        flags = tuple([b[2] or b[0] is FieldKind.NULL for b in f.branches] for f in resolved)
        return ReferencePlan(parsed, flags, scales)
    branches = [b for field in resolved for b in field.branches]
    runs = [field.run for field in resolved]
    starts = [i for i, run in enumerate(runs) if i == 0 or run != runs[i - 1]]
    kinds = [runs[i] for i in starts]
    run_first = np.array([*starts, len(runs)], np.int64)
    return DecodePlan(
        tuple(names),
        np.array([f.target for f in resolved], np.int8),
        np.array([f.slot for f in resolved], np.uint32),
        np.array([f.is_union for f in resolved], np.bool_),
        np.cumsum([0, *(len(f.branches) for f in resolved)], dtype=np.int32),
        np.array([b[0] for b in branches], np.int8),
        np.array([b[1] for b in branches], np.int64),
        np.array([b[2] for b in branches], np.bool_),
        run_first,
        np.array([k[0] for k in kinds], np.int8),
        np.array([k[1] for k in kinds], np.uint64),
        np.diff(run_first) * np.array([_MAX_RUN_BYTES[k[0]] for k in kinds], np.int64),
        _absent(NUMBER_INDEX, names),
        _absent(TEXT_INDEX, names),
    )


def _inner_names(avro_type: Any) -> dict[str, None] | None:
    """The names of the fields of a record, or of a nullable one; None for another type."""
    for branch in avro_type if isinstance(avro_type, list) else [avro_type]:
        if isinstance(branch, dict) and branch.get("type") == "record":
            return dict.fromkeys(field["name"] for field in branch["fields"])
    return None


class _Field(NamedTuple):
    """A writer's field resolved to a column; ``is_flat`` if the compiled loop can read it."""

    target: Target
    slot: int
    is_union: bool
    branches: list[tuple[FieldKind, int, bool]]
    run: tuple[Run, int]
    is_flat: bool


def _resolve(field: dict[str, Any], named: dict[str, Any], scales: dict[str, int]) -> _Field:
    name, avro_type = field["name"], field["type"]
    target, slot = _target(name)
    is_union = isinstance(avro_type, list)
    flat = [_branch(t, named) for t in (avro_type if is_union else [avro_type])]
    readable = _PROMOTES.get(target, set()) | ({"bytes", "fixed"} if name in scales else set())
    usable = [target is Target.SKIP or f[0] in readable for f in flat]
    if not any(u and (name != AMOUNT or f[0] != "null") for u, f in zip(usable, flat, strict=True)):
        shown = " or ".join(f[0] for f in flat) or "an empty union"
        raise UnreadableSchema(f"{name} cannot be read from {shown}")
    is_converted = name in scales or (target is Target.TEXT and "enum" in [f[0] for f in flat])
    return _Field(
        target,
        slot,
        is_union,
        [
            (FieldKind.FIXED if f[1] is None else f[1], f[2], u)
            for f, u in zip(flat, usable, strict=True)
        ],
        _run(target, is_union, [f[0] for f in flat]),
        not is_converted and all(f[1] is not None for f in flat),
    )


def _run(target: Target, is_union: bool, types: list[str]) -> tuple[Run, int]:
    """The kind of run a field belongs to, and the byte of its null index."""
    if is_union and len(types) == 2 and "null" in types:
        null = 2 * types.index("null")
        other = types[1 - types.index("null")]
        if target is Target.NUMBER and other == "double":
            return Run.DOUBLES, null
        if target is Target.TEXT and other in ("string", "bytes"):
            return Run.STRINGS, null
    return Run.GENERAL, 0


def _absent(columns: dict[str, int], names: list[str]) -> NDArray[np.int64]:
    return np.array([i for name, i in columns.items() if name not in names], np.int64)


def _target(name: str) -> tuple[Target, int]:
    special = {ID: Target.ID, TIME: Target.TIME, EVENT_TIME: Target.EVENT_TIME}
    if name in special:
        return special[name], 0
    if name in NUMBER_INDEX:
        return Target.NUMBER, NUMBER_INDEX[name]
    if name in TEXT_INDEX:
        return Target.TEXT, TEXT_INDEX[name]
    return Target.SKIP, 0


def _branch(avro_type: Any, named: dict[str, Any]) -> tuple[str, FieldKind | None, int]:
    """Type name, kind and fixed size; the kind of a nested type is None."""
    if isinstance(avro_type, str):
        if avro_type in _PRIMITIVES:
            return avro_type, _PRIMITIVES[avro_type], 0
        if avro_type not in named:  # defined inside a nested type
            return avro_type, None, 0
        avro_type = named[avro_type]
    kind = avro_type["type"]
    if kind == "enum":
        named[avro_type["name"]] = avro_type
        return kind, FieldKind.VARINT, max(1, len(avro_type["symbols"]))
    if kind == "fixed":
        named[avro_type["name"]] = avro_type
        return kind, FieldKind.FIXED, int(avro_type["size"])
    if isinstance(kind, str):
        return kind, _PRIMITIVES.get(kind), 0
    return "a nested type", None, 0
