"""The API reference: every route is on it, and every example is one that the schema allows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from dashboard.web.admin.reference import describe_document
from dashboard.web.admin.schema_text import SchemaText
from tests.support.dashboard_kit import make_app, make_settings


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = make_app(tmp_path).openapi()
    return found


def is_valid(document: dict[str, Any], schema: dict[str, Any], example: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.validator_for(whole).is_valid(example)


def test_every_route_is_on_the_page_with_a_link_to_it(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    with TestClient(app, "http://127.0.0.1") as client:
        page = client.get("/api").text
        assert client.get("/api?x=1").status_code == 400
    included = [r.original_router for r in app.routes if hasattr(r, "original_router")]
    routes = [
        route
        for router in included
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema and router.include_in_schema
    ]
    assert len(routes) > 10
    anchors = re.findall(r'<section class="box route" id="([^"]+)"', page)
    assert len(set(anchors)) == len(anchors) == sum(len(route.methods or ()) for route in routes)
    for route in routes:
        for method in route.methods or ():
            assert re.search(rf"{method}</b> <code>{re.escape(route.path_format)}</code>", page), (
                route.path
            )
    for anchor in anchors:
        assert f'href="#{anchor}"' in page


def test_examples_are_allowed_by_their_schemas(document: dict[str, Any]) -> None:
    text, checked = SchemaText(document), 0
    for path, item in document["paths"].items():
        for method, found in item.items():
            bodies = [found.get("requestBody", {}), *found["responses"].values()]
            for body in bodies:
                for media, content in body.get("content", {}).items():
                    schema = content.get("schema")
                    if not schema or not media.endswith("json"):
                        continue
                    example = content.get("example", text.example(schema))
                    assert is_valid(document, schema, example), (method, path, example)
                    checked += 1
            for given in found.get("parameters", ()):
                assert is_valid(document, given["schema"], text.example(given["schema"])), given
    assert checked > 20


def test_commands_can_be_pasted_into_a_shell(document: dict[str, Any]) -> None:
    groups = describe_document(document, "http://127.0.0.1:8000/", needs_token=True)
    commands = {o.path: shlex.split(o.curl) for g in groups for o in g["operations"]}
    predict = commands["/predict"]
    assert predict[:3] == ["curl", "-X", "POST"]
    assert "Authorization: Bearer $TOKEN" in predict
    assert json.loads(predict[predict.index("-d") + 1])["transactions"]
    assert commands["/livez"] == ["curl", "http://127.0.0.1:8000/livez"]
    assert commands["/api/v1/flags/{flag_id}"][-1].endswith("/api/v1/flags/3-8812345")
    assert not any("{" in words[-1] for words in commands.values())


def test_types_are_said_in_words() -> None:
    text = SchemaText({"components": {"schemas": {"A": {"type": "object", "properties": {}}}}})
    kinds: dict[str, dict[str, Any]] = {
        "whole number from 1 to 200": {"type": "integer", "minimum": 1, "maximum": 200},
        "text of up to 64 characters or null": {
            "anyOf": [{"type": "string", "maxLength": 64}, {"type": "null"}]
        },
        "number from 0 to below 5": {"type": "number", "minimum": 0, "exclusiveMaximum": 5},
        "one of FRAUD, UNSURE": {"enum": ["FRAUD", "UNSURE"]},
        "list of object": {"type": "array", "items": {"$ref": "#/components/schemas/A"}},
        "number or null": {"type": ["number", "null"]},
        "true or false": {"type": "boolean"},
    }
    assert [text.kind(schema) for schema in kinds.values()] == list(kinds)


def test_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    text = SchemaText({"components": {"schemas": {"Node": node, "Loop": {
        "$ref": "#/components/schemas/Loop"}}}})  # fmt: skip
    assert len(list(text.fields(node))) < 10
    assert text.example(node)["next"]["next"]
    assert text.kind({"$ref": "#/components/schemas/Loop"}) == "any value"


def test_host_that_a_client_names_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("")
    settings = make_settings(tmp_path, dashboard_insecure=True, dashboard_host="0.0.0.0")
    assert not settings.is_loopback
    app = make_app(tmp_path, dashboard_insecure=True, dashboard_host="0.0.0.0")
    with TestClient(app, "http://127.0.0.1") as client:
        page = client.get("/api", headers={"host": "a<script>b"}).text
    assert "<script>b" not in page
