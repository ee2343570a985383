"""Writers' schemas: what reading needs of one, and which are refused.

A schema comes from a registry and the bytes from anyone, so a schema under which a short record
could ask for endless work or memory is not followed at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import fastavro

from schemas.contracts import AvroSchema

_KEPT: Final = frozenset({"name", "namespace", "symbols", "size"})
_NESTED: Final = frozenset({"type", "items", "values", "fields"})
_PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)
_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})  # an error is a record

_MAX_VALUES: Final = 10_000
"""Of a record without the further items of its arrays; a transaction has 866."""
_MAX_DEPTH: Final = 200  # the reference decoder recurses without looking at the stack
_VALUES_A_BYTE: Final = 8  # of an array's items: a nullable field is two in a byte
_MAX_FIXED_BYTES: Final = 1024 * 1024  # no record is longer


class UnreadableSchema(ValueError):
    """By the Avro rules a record of this writer cannot be read as one of ours."""


def plain_types(schema: Any) -> Any:
    """A schema without logical types, so that timestamps stay integers of milliseconds."""
    if isinstance(schema, list):
        return [plain_types(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        k: plain_types(v) if k in _NESTED else v for k, v in schema.items() if k != "logicalType"
    }


def parse_writer(schema: AvroSchema) -> AvroSchema:
    """The schema with full names, without what only readers use (defaults, logical types).

    A writer's wrong default is therefore no fault.

    Raises:
        UnreadableSchema: it is no valid schema; or it is recursive or nests deeply (the reference
            decoder would overflow its stack, which ends the process); or a short record could take
            endless reading, by arrays whose items take no bytes (ten bytes could then stand for
            2^63 items) or records that hold others many times.
    """
    try:
        parsed = fastavro.parse_schema(_essence(schema))
    except Exception as error:  # an invalid schema raises anything there
        raise UnreadableSchema(f"the writer's schema is not valid: {error!r}"[:300]) from error
    _cost(parsed, (), {})
    return parsed


def _essence(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_essence(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        k: _essence(v) if k in _NESTED else v for k, v in schema.items() if k in _NESTED | _KEPT
    }


@dataclass(frozen=True, slots=True)
class _Cost:
    """What reading one value of a type takes at most.

    ``values`` lie in it, arrays and maps counting as with one item; ``unpaid`` of them are beyond
    ``_VALUES_A_BYTE`` for each byte it takes; they nest ``depth`` deep.
    """

    values: int
    unpaid: int
    depth: int


_NOTHING: Final = _Cost(0, 0, 0)
_NO_BYTES: Final = _Cost(1, 1, 1)
_A_BYTE: Final = _Cost(1, 1 - _VALUES_A_BYTE, 1)  # or more


def _cost(avro_type: Any, inside: tuple[str, ...], named: dict[str, _Cost]) -> _Cost:
    """``inside`` names the types being defined; a definition always precedes its uses.

    Each type is looked at once: records that hold the one before them twice unfold to 2^n values.
    """
    if isinstance(avro_type, list):
        return _around(_most([_cost(branch, inside, named) for branch in avro_type]), _A_BYTE)
    if isinstance(avro_type, str):
        return _cost_of_name(avro_type, inside, named)
    kind = avro_type["type"]
    if kind == "array":
        return _cost_of_items("an array", _cost(avro_type["items"], inside, named))
    if kind == "map":
        return _cost_of_items("a map", _around(_cost(avro_type["values"], inside, named), _A_BYTE))
    if not isinstance(kind, str) or kind not in _NAMED:
        return _cost(kind, inside, named)
    name = avro_type["name"]
    if kind == "enum":
        named[name] = _A_BYTE
    elif kind == "fixed":
        named[name] = _cost_of_fixed(name, avro_type["size"])
    else:
        fields = [_cost(f["type"], (*inside, name), named) for f in avro_type["fields"]]
        total = _Cost(
            sum(f.values for f in fields), sum(f.unpaid for f in fields), _most(fields).depth
        )
        named[name] = _around(total, _NO_BYTES)
    return named[name]


def _cost_of_name(name: str, inside: tuple[str, ...], named: dict[str, _Cost]) -> _Cost:
    if name in inside:
        raise UnreadableSchema(f"the writer's schema is recursive: {name} holds itself")
    if name in _PRIMITIVES:
        return _NO_BYTES if name == "null" else _A_BYTE
    if name not in named:
        raise UnreadableSchema(f"the writer's schema is not valid: {name} is no type"[:300])
    return named[name]


def _cost_of_items(what: str, item: _Cost) -> _Cost:
    if item.unpaid > 0:
        raise UnreadableSchema(
            f"the writer's schema has {what} of items without bytes for their values"
        )
    return _around(_Cost(item.values, 0, item.depth), _A_BYTE)  # there may be none


def _cost_of_fixed(name: str, size: Any) -> _Cost:
    if type(size) is not int or not 0 <= size <= _MAX_FIXED_BYTES:
        raise UnreadableSchema(f"the writer's schema has {name}, a fixed of {size!r} bytes"[:300])
    return _Cost(1, 1 - size * _VALUES_A_BYTE, 1)


def _around(inner: _Cost, outer: _Cost) -> _Cost:
    """``inner`` in a value that takes ``outer`` itself.

    Raises:
        UnreadableSchema: that is too much.
    """
    cost = _Cost(
        outer.values + inner.values, outer.unpaid + inner.unpaid, outer.depth + inner.depth
    )
    if cost.values > _MAX_VALUES:
        raise UnreadableSchema(f"the writer's schema unfolds to more than {_MAX_VALUES} values")
    if cost.depth > _MAX_DEPTH:
        raise UnreadableSchema(f"the writer's schema nests deeper than {_MAX_DEPTH}")
    return cost


def _most(costs: Sequence[_Cost]) -> _Cost:
    """The most of each; of no costs, nothing."""
    if not costs:
        return _NOTHING
    return _Cost(
        max(c.values for c in costs), max(c.unpaid for c in costs), max(c.depth for c in costs)
    )
