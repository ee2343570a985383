"""Writers' schemas: the parts that reading needs, and which schemas are refused.

A schema comes from a registry and the bytes come from anyone. So a schema that would let a short
record cause unbounded work or memory use is refused.
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
"""Of a record whose arrays have one item each; a transaction has 866."""
_MAX_DEPTH: Final = 200  # the reference decoder recurses without checking the stack
_VALUES_A_BYTE: Final = 8  # for an array's items: a nullable field is two values in one byte
_MAX_FIXED_BYTES: Final = 1024 * 1024  # no record is longer


class UnreadableSchema(ValueError):
    """By the Avro rules, a record with this writer's schema cannot be read with ours."""


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

    So an invalid default in a writer's schema is not an error.

    Raises:
        UnreadableSchema: the schema is not valid; or it is recursive or nests too deeply (the
            reference decoder would overflow its stack and crash the process); or a short record
            could cause unbounded work, through arrays whose items take no bytes (ten bytes could
            then represent 2^63 items) or records that contain others many times.
    """
    try:
        parsed = fastavro.parse_schema(_essence(schema))
    except Exception as error:  # fastavro raises any exception type for an invalid schema
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
    """The largest cost of reading one value of a type.

    ``values`` is the number of values in it, with one item per array and map. ``unpaid`` is how
    many of them exceed ``_VALUES_A_BYTE`` per byte read. ``depth`` is how deep they nest.
    """

    values: int
    unpaid: int
    depth: int


_NOTHING: Final = _Cost(0, 0, 0)
_NO_BYTES: Final = _Cost(1, 1, 1)
_A_BYTE: Final = _Cost(1, 1 - _VALUES_A_BYTE, 1)  # or more


def _cost(avro_type: Any, inside: tuple[str, ...], named: dict[str, _Cost]) -> _Cost:
    """The cost of a type. ``inside`` names the types being defined.

    A definition always precedes its uses. Each type is visited once: a chain of records that each
    contain the previous one twice expands to 2^n values.
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
        raise UnreadableSchema(f"the writer's schema is recursive: {name} contains itself")
    if name in _PRIMITIVES:
        return _NO_BYTES if name == "null" else _A_BYTE
    if name not in named:
        raise UnreadableSchema(f"the writer's schema is not valid: {name} is not a type"[:300])
    return named[name]


def _cost_of_items(what: str, item: _Cost) -> _Cost:
    if item.unpaid > 0:
        raise UnreadableSchema(
            f"the writer's schema has {what} whose items have too few bytes for their values"
        )
    return _around(_Cost(item.values, 0, item.depth), _A_BYTE)  # it may have no items


def _cost_of_fixed(name: str, size: Any) -> _Cost:
    if type(size) is not int or not 0 <= size <= _MAX_FIXED_BYTES:
        raise UnreadableSchema(f"the writer's schema has {name}, a fixed of {size!r} bytes"[:300])
    return _Cost(1, 1 - size * _VALUES_A_BYTE, 1)


def _around(inner: _Cost, outer: _Cost) -> _Cost:
    """The cost of ``inner`` inside a value that itself costs ``outer``.

    Raises:
        UnreadableSchema: the total exceeds a limit.
    """
    cost = _Cost(
        outer.values + inner.values, outer.unpaid + inner.unpaid, outer.depth + inner.depth
    )
    if cost.values > _MAX_VALUES:
        raise UnreadableSchema(f"the writer's schema expands to more than {_MAX_VALUES} values")
    if cost.depth > _MAX_DEPTH:
        raise UnreadableSchema(f"the writer's schema nests deeper than {_MAX_DEPTH}")
    return cost


def _most(costs: Sequence[_Cost]) -> _Cost:
    """The maximum of each field; zero if there are no costs."""
    if not costs:
        return _NOTHING
    return _Cost(
        max(c.values for c in costs), max(c.unpaid for c in costs), max(c.depth for c in costs)
    )
