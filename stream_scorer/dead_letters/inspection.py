"""Decodes one value as far as possible: the readable fields, and where decoding fails."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import fastavro

from schemas.contracts import AvroSchema
from schemas.framing import FramingError, Header, read_frame
from schemas.json.codec import parse_json
from schemas.rejections import Rejection
from schemas.resolver import SchemaResolver, UnknownSchema, resolve
from schemas.transactions.codec import TransactionDecoder
from schemas.writer_schema import UnreadableSchema, parse_writer, plain_types
from stream_scorer.errors import RetryableError

_SPACE: Final = frozenset(" \t\r\n")


@dataclass(frozen=True, slots=True)
class RecordFault:
    """Why a value cannot be scored now.

    Attributes:
        stage: the stage at which it fails; None if it is unknown because no registry answers.
        reason: why it fails.
        field: the field that causes the failure; None if there is none.
        byte: position of the failure in the value; None if there is none.
    """

    stage: str | None
    reason: str
    field: str | None = None
    byte: int | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The content of a value.

    Attributes:
        format: ``avro``, ``json``, or None if it is unknown.
        fields: the readable fields with a value, under the writer's names.
        fault: why the value cannot be scored; None if it would be scored now.
    """

    format: str | None
    fields: dict[str, Any]
    fault: RecordFault | None


@dataclass(slots=True)
class _Walk:
    """Fields in order, the position of each, and the position where decoding ended or failed."""

    fields: dict[str, Any]
    places: dict[str, int]
    end: int
    broken: str | None = None


def inspect_value(
    value: bytes | None, headers: Sequence[Header], resolver: SchemaResolver
) -> Inspection:
    """Inspect the value of one input."""
    try:
        fault = _fault(TransactionDecoder(resolver).decode([value], [headers]).rejections)
        frame = read_frame(value or b"", headers)
        schema = None if frame.key is None else resolve(resolver, frame.key)
    except RetryableError as error:
        return Inspection(None, {}, RecordFault(None, str(error)))
    except FramingError:
        return Inspection(None, {}, fault and replace(fault, byte=0 if value else None))
    except UnknownSchema:
        return Inspection(None, {}, fault)
    if schema is None:
        return _with_place("json", _walk_json(value or b""), fault)
    return _with_place("avro", _walk_avro(value or b"", frame.body_start, schema), fault)


def _fault(rejections: Sequence[Rejection]) -> RecordFault | None:
    if not rejections:
        return None
    first = rejections[0]
    return RecordFault(first.stage.value, first.reason, first.field)


def _with_place(kind: str, walk: _Walk, fault: RecordFault | None) -> Inspection:
    fields = {name: value for name, value in walk.fields.items() if value is not None}
    if fault is None:
        return Inspection(kind, fields, None)
    field, byte = fault.field or walk.broken, None
    if field in walk.places:
        byte = walk.places[field]
    elif walk.broken is not None or fault.stage == "decode":
        byte = walk.end
    return Inspection(kind, fields, RecordFault(fault.stage, fault.reason, field, byte))


def _walk_avro(value: bytes, start: int, schema: AvroSchema) -> _Walk:
    """Decode field by field with the writer's schema, up to the first unreadable field."""
    walk = _Walk({}, {}, start)
    try:
        writer = plain_types(parse_writer(schema))
    except UnreadableSchema:
        return walk
    body = io.BytesIO(value)
    body.seek(start)
    for field in writer.get("fields", ()):
        name = field["name"]
        walk.places[name] = walk.end = body.tell()
        try:
            walk.fields[name] = fastavro.schemaless_reader(body, field["type"], None)
        except Exception:  # untrusted bytes can raise anything
            walk.broken = name
            return walk
    walk.end = body.tell()
    return walk


def _walk_json(value: bytes) -> _Walk:
    """The members of an object; for invalid JSON, the members before the failure."""
    text = value.decode("utf-8", "surrogateescape")
    walk = _Walk({}, {}, 0)
    scan = json.JSONDecoder()
    at = _skip(text, 0)
    try:
        if text[at] != "{":
            return walk
        at = _skip(text, at + 1)
        while text[at] != "}":
            walk.broken, walk.end = None, at
            name, after = scan.raw_decode(text, at)
            if not isinstance(name, str):
                break
            walk.places[name], walk.broken = at, name
            after = _skip(text, after)
            if text[after] != ":":
                break
            walk.fields[name], at = scan.raw_decode(text, _skip(text, after + 1))
            walk.broken = None
            at = _skip(text, at)
            walk.end = at
            if text[at] == ",":
                at = _skip(text, at + 1)
            elif text[at] != "}":
                break
        else:
            walk.end = at + 1
    except (ValueError, IndexError, RecursionError):
        walk.end = len(text) if at >= len(text) else walk.end
    walk.end = _in_bytes(text, walk.end)
    walk.places = {name: _in_bytes(text, place) for name, place in walk.places.items()}
    if not walk.fields:
        walk.fields = _parsed(value)
    return walk


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        parsed = parse_json(value)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _in_bytes(text: str, place: int) -> int:
    return len(text[:place].encode("utf-8", "surrogateescape"))


def plain(value: Any) -> Any:
    """A value that JSON can represent: bytes as hexadecimal, NaN and infinity as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
