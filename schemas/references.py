"""Composes a schema from those it refers to, which a registry keeps under other subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.contracts import AvroSchema

_PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)
_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
_MAX_DEPTH: Final = 200


class UnresolvedReference(ValueError):
    """A schema cannot be composed; the message says why."""


def compose(schema: AvroSchema, referred: Mapping[str, AvroSchema]) -> AvroSchema:
    """``schema`` with the definition of each type it refers to, where it is first named.

    Args:
        schema: the parsed schema.
        referred: full name → the parsed schema that defines the type.

    Raises:
        UnresolvedReference: the schemas nest too deeply.
    """
    return _Composer(referred).compose(schema, "", 0)


class _Composer:
    def __init__(self, referred: Mapping[str, AvroSchema]) -> None:
        self._referred = referred
        self._defined: set[str] = set()

    def compose(self, avro_type: Any, space: str, depth: int) -> Any:
        """A type in the namespace ``space``; names keep their meaning (specification, "Names")."""
        if depth > _MAX_DEPTH:
            raise UnresolvedReference(f"its references nest deeper than {_MAX_DEPTH}")
        if isinstance(avro_type, list):
            return [self.compose(branch, space, depth + 1) for branch in avro_type]
        if isinstance(avro_type, str):
            return self._named(avro_type, space, depth)
        if not isinstance(avro_type, dict):
            return avro_type
        out = dict(avro_type)
        if out.get("type") in _NAMED and isinstance(out.get("name"), str):
            space, full = _full_name(out["name"], out.get("namespace", space))
            out["name"], out["namespace"] = full, space
            self._defined.add(full)
        elif out.get("type") not in ("array", "map"):
            out["type"] = self.compose(out.get("type"), space, depth + 1)
        for key in ("items", "values"):
            if key in out:
                out[key] = self.compose(out[key], space, depth + 1)
        if isinstance(fields := out.get("fields"), list):
            out["fields"] = [
                {**f, "type": self.compose(f.get("type"), space, depth + 1)}
                if isinstance(f, dict)
                else f
                for f in fields
            ]
        return out

    def _named(self, name: str, space: str, depth: int) -> Any:
        if name in _PRIMITIVES:
            return name
        _, full = _full_name(name, space)
        if full in self._defined:
            return full
        for known in (full, name):
            if known in self._referred:
                return self.compose(self._referred[known], "", depth + 1)
        return full


def _full_name(name: str, space: Any) -> tuple[str, str]:
    """The namespace and the full name."""
    if "." in name:
        return name.rpartition(".")[0], name
    space = space if isinstance(space, str) else ""
    return space, f"{space}.{name}" if space else name
