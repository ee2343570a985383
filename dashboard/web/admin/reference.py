"""``/api``: the API reference, made from this server's own OpenAPI document."""

from __future__ import annotations

import http
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.web.admin.schema_text import SchemaText
from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import PROBLEM_JSON

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

METHODS: Final = ("get", "post", "put", "patch", "delete")
_OTHER: Final = "scoring"  # the tag of operations without one
_NO_TEXT: Final = "Successful Response"  # what FastAPI writes where nobody did
_PLACES: Final = {"flag_id": "3-8812345", "kind": "card", "value": "3638", "version": "v7"}
"""Examples of parameters in paths."""

_TITLES: Final = {
    "scoring": "Score transactions",
    "flags": "Flagged transactions",
    "desk": "Cases, decisions, audit",
    "stats": "Statistics",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, as the page shows it.

    Every second part of ``text`` is code.
    """

    anchor: str
    method: str
    path: str
    summary: str
    text: list[str]
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None
    answers: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    curl: str


@router.get("/api", response_model=None)
def reference(request: Request, parts: PartsOf) -> Response:
    """Every route with parameters, bodies, answers and problems."""
    forbid_unknown(request, frozenset())
    document = request.app.openapi()
    needs_token = parts.settings.dashboard_auth == "token"
    groups = describe_document(document, str(request.base_url), needs_token=needs_token)
    return render_page(request, "reference.html", groups=groups, **page_state(parts))


def describe_document(
    document: Mapping[str, Any], base: str, *, needs_token: bool
) -> list[dict[str, Any]]:
    """The operations by tag, in the order of the document.

    Args:
        document: an OpenAPI document.
        base: the address of this server, for the examples.
        needs_token: the examples send a token.
    """
    text = SchemaText(document)
    groups: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                found = item[method]
                tag = (found.get("tags") or [_OTHER])[0]
                operation = _describe(text, path, method, found, base, needs_token=needs_token)
                groups.setdefault(tag, []).append(operation)
    return [
        {"tag": tag, "title": _TITLES.get(tag, tag.capitalize()), "operations": operations}
        for tag, operations in groups.items()
    ]


def _describe(
    text: SchemaText,
    path: str,
    method: str,
    found: Mapping[str, Any],
    base: str,
    *,
    needs_token: bool,
) -> Operation:
    parameters = [_parameter(text, given) for given in found.get("parameters", ())]
    body = _content(text, found.get("requestBody", {}).get("content", {}))
    answers, problems = [], []
    for status, response in found.get("responses", {}).items():
        described = {
            "status": int(status),
            "title": http.HTTPStatus(int(status)).phrase,
            "text": response.get("description", "").replace(_NO_TEXT, ""),
        }
        content = response.get("content", {})
        if PROBLEM_JSON in content:
            problems.append(described)
        else:
            answers.append({**described, "content": _content(text, content)})
    return Operation(
        anchor=_anchor(method, path),
        method=method.upper(),
        path=path,
        summary=found.get("summary", path),
        text=found.get("description", "").split("``"),
        parameters=parameters,
        body=body,
        answers=answers,
        problems=sorted(problems, key=lambda problem: problem["status"]),
        curl=_curl(method, path, parameters, body, base, needs_token=needs_token),
    )


def _anchor(method: str, path: str) -> str:
    return f"{method}{re.sub(r'[^a-z0-9]+', '-', path.lower())}".rstrip("-")


def _parameter(text: SchemaText, given: Mapping[str, Any]) -> dict[str, Any]:
    schema = text.resolve(given.get("schema", {}))
    default = schema.get("default")
    return {
        "name": given["name"],
        "in": given["in"],
        "is_required": given.get("required", False),
        "kind": text.kind(schema),
        "text": given.get("description", ""),
        "default": None if default is None else str(default),
        "example": given.get("example", _PLACES.get(given["name"], text.example(schema))),
    }


def _content(text: SchemaText, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first media type of a body: its fields, and an example as JSON."""
    for media, described in content.items():
        schema = described.get("schema", {})
        example = described.get("example", text.example(schema)) if schema else None
        is_json = media.endswith("json") and example not in (None, {})
        return {
            "media": media,
            "fields": list(text.fields(schema)),
            "example": example if is_json else None,
            "json": orjson.dumps(example, option=orjson.OPT_INDENT_2).decode() if is_json else "",
        }
    return None


def _curl(
    method: str,
    path: str,
    parameters: list[dict[str, Any]],
    body: dict[str, Any] | None,
    base: str,
    *,
    needs_token: bool,
) -> str:
    """A command that can be pasted into a shell. Optional parameters are left out."""
    wanted = [given for given in parameters if given["is_required"]]
    for given in wanted:
        if given["in"] == "path":
            path = path.replace(f"{{{given['name']}}}", quote(str(given["example"]), safe=""))
    query = urlencode([(g["name"], g["example"]) for g in wanted if g["in"] == "query"])
    url = base.rstrip("/") + path + (f"?{query}" if query else "")
    words = ["curl"] if method == "get" else ["curl", "-X", method.upper()]
    if needs_token and not path.startswith(("/livez", "/readyz", "/health", "/metrics")):
        words += ["-H", '"Authorization: Bearer $TOKEN"']
    for given in wanted:
        if given["in"] == "header":
            words += ["-H", shlex.quote(f"{given['name']}: {given['example']}")]
    if body is not None and body["example"] is not None:
        compact = orjson.dumps(body["example"]).decode()
        words += ["-H", shlex.quote(f"Content-Type: {body['media']}"), "-d", shlex.quote(compact)]
    return " ".join([*words, shlex.quote(url)])
