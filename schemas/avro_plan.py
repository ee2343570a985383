"""From a writer's schema to a table that a compiled loop can follow.

A transaction's schema is flat: primitives, and unions of primitives. Such a schema becomes a
:class:`DecodePlan`; anything nested cannot, and is read record by record by the reference
decoder instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.contracts import (
    AMOUNT,
    EVENT_TIME,
    ID,
    NUMBER_INDEX,
    TEXT_INDEX,
    TIME,
    AvroSchema,
)


class Kind(IntEnum):
    """How a value lies in the bytes (Avro specification, "Binary Encoding")."""

    NULL = 0
    BOOLEAN = 1
    VARINT = 2
    FLOAT = 3
    DOUBLE = 4
    BYTES = 5
    FIXED = 6


class Target(IntEnum):
    """Where a value goes."""

    SKIP = 0
    ID = 1
    TIME = 2
    EVENT_TIME = 3
    NUMBER = 4
    TEXT = 5


class UnreadableSchema(ValueError):
    """By the Avro rules a record of this writer cannot be read as a transaction."""


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """One writer's schema, flattened.

    Arrays over the writer's fields: ``target``, ``slot`` (column within the target), ``first``
    (index of its first branch, one more entry than fields), ``is_union``. Arrays over branches:
    ``kind``, ``size`` (bytes of a fixed), ``usable`` (the branch resolves to the reader's type).
    ``names`` are the writer's field names, for error messages.
    """

    names: tuple[str, ...]
    target: NDArray[np.int8]
    slot: NDArray[np.int32]
    is_union: NDArray[np.bool_]
    first: NDArray[np.int32]
    kind: NDArray[np.int8]
    size: NDArray[np.int64]
    usable: NDArray[np.bool_]


_PRIMITIVES: Final = {
    "null": Kind.NULL,
    "boolean": Kind.BOOLEAN,
    "int": Kind.VARINT,
    "long": Kind.VARINT,
    "float": Kind.FLOAT,
    "double": Kind.DOUBLE,
    "string": Kind.BYTES,
    "bytes": Kind.BYTES,
}
# Avro specification, "Schema Resolution": what may be promoted to what.
_PROMOTES: Final = {
    Target.ID: {"int", "long"},
    Target.TIME: {"int", "long"},
    Target.EVENT_TIME: {"int", "long", "null"},
    Target.NUMBER: {"int", "long", "float", "double", "null"},
    Target.TEXT: {"string", "bytes", "null"},
}


def build_plan(schema: AvroSchema) -> DecodePlan | None:
    """The plan for a writer's schema, or None when it needs the reference decoder.

    The record's name is not compared: producers have their own namespaces, and it cannot
    change what the fields mean.

    Raises:
        UnreadableSchema: not a record, a required field is absent, or a type cannot be
            resolved to ours.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UnreadableSchema("the writer's schema is not a record")
    fields = schema["fields"]
    names = [f["name"] for f in fields]
    if missing := [n for n in (ID, TIME, AMOUNT) if n not in names]:
        raise UnreadableSchema(f"the writer's schema has no {', '.join(missing)}")
    rows: list[tuple[Target, int, bool]] = []
    branches: list[tuple[Kind, int, bool]] = []
    first = [0]
    named: dict[str, Any] = {}
    for field in fields:
        target, slot = _target(field["name"])
        union = isinstance(field["type"], list)
        flat = [_branch(t, named) for t in (field["type"] if union else [field["type"]])]
        if any(f is None for f in flat):
            return None
        known = [f for f in flat if f is not None]
        usable = [target is Target.SKIP or f[0] in _PROMOTES[target] for f in known]
        if not any(u for u, f in zip(usable, known, strict=True) if f[0] != "null" or union):
            shown = known[0][0] if known else "an empty union"
            raise UnreadableSchema(f"{field['name']} cannot be read from {shown}")
        rows.append((target, slot, union))
        branches += [(f[1], f[2], u) for f, u in zip(known, usable, strict=True)]
        first.append(len(branches))
    return DecodePlan(
        tuple(names),
        np.array([r[0] for r in rows], np.int8),
        np.array([r[1] for r in rows], np.int32),
        np.array([r[2] for r in rows], np.bool_),
        np.array(first, np.int32),
        np.array([b[0] for b in branches], np.int8),
        np.array([b[1] for b in branches], np.int64),
        np.array([b[2] for b in branches], np.bool_),
    )


def _target(name: str) -> tuple[Target, int]:
    special = {ID: Target.ID, TIME: Target.TIME, EVENT_TIME: Target.EVENT_TIME}
    if name in special:
        return special[name], 0
    if name in NUMBER_INDEX:
        return Target.NUMBER, NUMBER_INDEX[name]
    if name in TEXT_INDEX:
        return Target.TEXT, TEXT_INDEX[name]
    return Target.SKIP, 0


def _branch(avro_type: Any, named: dict[str, Any]) -> tuple[str, Kind, int] | None:
    """Type name, kind and fixed size of a flat type; None for a nested one."""
    if isinstance(avro_type, str):
        if avro_type in _PRIMITIVES:
            return avro_type, _PRIMITIVES[avro_type], 0
        avro_type = named.get(avro_type.rpartition(".")[2])
        if avro_type is None:
            return None
    kind = avro_type["type"]
    if kind in ("enum", "fixed"):
        named[avro_type["name"].rpartition(".")[2]] = avro_type
        return (
            ("enum", Kind.VARINT, 0)
            if kind == "enum"
            else ("fixed", Kind.FIXED, int(avro_type["size"]))
        )
    if isinstance(kind, str) and kind in _PRIMITIVES:
        return kind, _PRIMITIVES[kind], 0
    return None
