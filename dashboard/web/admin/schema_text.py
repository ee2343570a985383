"""JSON schemas of an OpenAPI document for people: types in words, fields in rows, examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

MAX_DEPTH: Final = 6
"""Of nested objects. Our own documents need four."""

_MANY_FIELDS: Final = 60
"""An object with more optional fields, such as a transaction, is not listed field by field."""

_WORDS: Final = {"string": "text", "integer": "whole number", "boolean": "true or false"}


class SchemaText:
    """Describes the schemas of one document."""

    def __init__(self, document: Schema) -> None:
        self._models: Schema = document.get("components", {}).get("schemas", {})

    def resolve(self, schema: Schema) -> Schema:
        """The schema that a reference names. Any other schema as it is."""
        for _ in range(MAX_DEPTH):
            name = str(schema.get("$ref", "")).rpartition("/")[2]
            if not name:
                return schema
            schema = self._models.get(name, {})
        return {}

    def kind(self, schema: Schema) -> str:
        """The type in words, with its limits: ``whole number from 1 to 200 or null``."""
        schema = self.resolve(schema)
        if "enum" in schema:
            return "one of " + ", ".join(str(value) for value in schema["enum"])
        if "const" in schema:
            return str(schema["const"])
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(dict.fromkeys(self.kind(option) for option in options))
        names = schema.get("type", "object" if "properties" in schema else "any value")
        if isinstance(names, list):
            return " or ".join(self.kind({**schema, "type": name}) for name in names)
        if names == "array":
            items = schema.get("items", {})
            return f"list of {self.kind(items)}" if items else "list"
        return _WORDS.get(names, str(names)) + (_limits(schema) if names != "null" else "")

    def example(self, schema: Schema, depth: int = 0) -> Any:
        """A value that the schema allows."""
        schema = self.resolve(schema)
        for name in ("example", "const"):
            if name in schema:
                return schema[name]
        if schema.get("examples"):
            return schema["examples"][0]
        if "enum" in schema:
            return schema["enum"][0]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self.example(options[0], depth)
        names = schema.get("type", "object")
        name = names[0] if isinstance(names, list) else names
        if name == "array":
            return self._example_list(schema, depth)
        if name == "object":
            return self._example_object(schema, depth)
        return _example_scalar(name, schema)

    def fields(self, schema: Schema, path: str = "", depth: int = 0) -> Iterator[dict[str, str]]:
        """The fields of an object, and of the objects in it: path, type and description."""
        schema = self._inner(schema)
        if schema.get("type") == "array":
            yield from self.fields(schema.get("items", {}), f"{path}[]", depth)
            return
        found = schema.get("properties", {})
        required = schema.get("required", ())
        if depth >= MAX_DEPTH or not found:
            return
        if len(found) > _MANY_FIELDS:
            found = {name: found[name] for name in required if name in found}
        for name, inner in found.items():
            place = f"{path}.{name}" if path else name
            words = inner.get("description") or self.resolve(inner).get("description", "")
            is_needed = "" if name in required else "optional"
            yield {"path": place, "kind": self.kind(inner), "text": words, "note": is_needed}
            yield from self.fields(inner, place, depth + 1)
        if len(schema.get("properties", {})) > len(found):
            more = len(schema["properties"]) - len(found)
            yield {"path": f"{path}.…", "kind": "", "text": f"{more} optional fields", "note": ""}

    def _inner(self, schema: Schema) -> Schema:
        """The schema, or the first option that has fields."""
        schema = self.resolve(schema)
        options = [self.resolve(option) for option in schema.get("anyOf", ())]
        return next((o for o in options if o.get("type") in ("object", "array")), schema)

    def _example_list(self, schema: Schema, depth: int) -> list[Any]:
        if depth >= MAX_DEPTH:
            return []
        if "prefixItems" in schema:
            return [self.example(item, depth + 1) for item in schema["prefixItems"]]
        items = schema.get("items", {})
        return [self.example(items, depth + 1)] if items else []

    def _example_object(self, schema: Schema, depth: int) -> dict[str, Any]:
        found = schema.get("properties", {})
        if len(found) > _MANY_FIELDS or depth >= MAX_DEPTH:
            found = {name: found[name] for name in schema.get("required", ()) if name in found}
        return {name: self.example(inner, depth + 1) for name, inner in found.items()}


def _limits(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    below = schema.get("exclusiveMaximum")
    text = ""
    if low is not None and high is not None:
        text = f" from {low} to {high}"
    elif low is not None and below is not None:
        text = f" from {low} to below {below}"
    elif low is not None:
        text = f" from {low}"
    elif high is not None:
        text = f" up to {high}"
    if "maxLength" in schema:
        text += f" of up to {schema['maxLength']:,} characters"
    return text


def _example_scalar(name: str, schema: Schema) -> Any:
    if schema.get("default") is not None:
        return schema["default"]
    if name == "integer":
        return schema.get("minimum", 1)
    if name == "number":
        return schema.get("minimum", 0.5)
    return {"string": "text", "boolean": False, "null": None}.get(name)
