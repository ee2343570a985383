"""Schemas composed from those they refer to."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.contracts import canonical_form
from schemas.references import UnresolvedReference, compose
from schemas.writer_schema import UnreadableSchema, parse_writer

ENUM = {"type": "enum", "name": "c.E", "symbols": ["X"]}
USER = {"type": "record", "name": "B", "namespace": "a", "fields": [{"name": "e", "type": "c.E"}]}


def record(name: str, namespace: str = "", **types: Any) -> dict[str, Any]:
    fields = [{"name": n, "type": t} for n, t in types.items()]
    return {"type": "record", "name": name, "namespace": namespace, "fields": fields}


@pytest.mark.parametrize("namespace", ["", "z"])
def test_types_are_defined_where_they_are_first_named(namespace: str) -> None:
    inner = record("N", q=["null", "c.E"])
    del inner["namespace"]
    schema = record(
        "T", namespace, b="a.B", b2=["null", "a.B"], n=inner, m={"type": "array", "items": "N"}
    )
    found = compose(schema, {"a.B": USER, "c.E": ENUM})
    canonical_form(found)
    fields = parse_writer(found)["fields"]
    assert fields[0]["type"]["name"] == "a.B"
    assert fields[0]["type"]["fields"][0]["type"]["symbols"] == ["X"]
    assert fields[1]["type"] == ["null", "a.B"]


def test_name_without_namespace_is_looked_up_in_the_namespace_around_it() -> None:
    found = compose(record("T", "a", b="B"), {"a.B": USER, "c.E": ENUM})
    assert parse_writer(found)["fields"][0]["type"]["name"] == "a.B"


def test_schema_that_refers_to_nothing_keeps_its_meaning() -> None:
    schema = record("T", "z", a=["null", "long"], m={"type": "map", "values": ENUM}, e="c.E")
    assert canonical_form(compose(schema, {})) == canonical_form(schema)


def test_schemas_that_refer_to_each_other_are_refused_as_recursive() -> None:
    found = compose(record("T", x="A"), {"A": record("A", y="B"), "B": record("B", z="A")})
    with pytest.raises(UnreadableSchema, match="recursive"):
        parse_writer(found)


def test_deep_chain_of_references_is_refused() -> None:
    chain = {f"R{i}": record(f"R{i}", x=f"R{i + 1}") for i in range(300)}
    with pytest.raises(UnresolvedReference, match="nest deeper"):
        compose(record("T", x="R0"), chain)


def test_text_that_is_no_schema_is_left_to_the_parser() -> None:
    odd: Any
    for odd in (5, None, {"type": 5}, {"type": "record", "name": 5, "fields": [1]}, [[]], {}):
        compose(odd, {"a": ENUM})
