"""Writers' schemas: what reading needs of one, and which are refused.

A schema comes from a registry and the bytes from anyone, so a schema under which a short record
could ask for endless work or memory is not followed at all.
"""

from __future__ import annotations

from typing import Any, Final

import fastavro

from schemas.contracts import AvroSchema

_KEPT: Final = frozenset({"name", "namespace", "symbols", "size"})
_NESTED: Final = frozenset({"type", "items", "values", "fields"})
_PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)


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
        UnreadableSchema: it is no valid schema; or it is recursive (the reference decoder would
            overflow its stack, which ends the process) or has arrays whose items take no bytes
            (ten bytes could then stand for 2^63 items).
    """
    try:
        parsed = fastavro.parse_schema(_essence(schema))
    except Exception as error:  # an invalid schema raises anything there
        raise UnreadableSchema(f"the writer's schema is not valid: {error!r}"[:300]) from error
    _check(parsed, (), {})
    return parsed


def _essence(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_essence(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        k: _essence(v) if k in _NESTED else v for k, v in schema.items() if k in _NESTED | _KEPT
    }


def _check(avro_type: Any, inside: tuple[str, ...], named: dict[str, Any]) -> None:
    """``inside`` names the types being defined; a definition always precedes its uses."""
    if isinstance(avro_type, list):
        for branch in avro_type:
            _check(branch, inside, named)
        return
    if isinstance(avro_type, str):
        if avro_type in inside:
            raise UnreadableSchema(f"the writer's schema is recursive: {avro_type} holds itself")
        return
    kind = avro_type["type"]
    if kind in ("record", "enum", "fixed"):
        named[avro_type["name"]] = avro_type
    if kind == "record":
        for field in avro_type["fields"]:
            _check(field["type"], (*inside, avro_type["name"]), named)
    elif kind == "map":
        _check(avro_type["values"], inside, named)
    elif kind == "array":
        _check(avro_type["items"], inside, named)
        if _takes_no_bytes(avro_type["items"], named):
            raise UnreadableSchema("the writer's schema has an array of items without bytes")
    elif kind not in ("enum", "fixed"):
        _check(kind, inside, named)


def _takes_no_bytes(avro_type: Any, named: dict[str, Any]) -> bool:
    if isinstance(avro_type, list):
        return False  # the index of the branch takes one
    if isinstance(avro_type, str):
        if avro_type in _PRIMITIVES:
            return avro_type == "null"
        return _takes_no_bytes(named[avro_type], named)
    kind = avro_type["type"]
    if kind == "record":
        return all(_takes_no_bytes(f["type"], named) for f in avro_type["fields"])
    if kind in ("array", "map", "enum", "fixed"):
        return bool(kind == "fixed" and avro_type["size"] == 0)
    return _takes_no_bytes(kind, named)
