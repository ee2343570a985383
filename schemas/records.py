"""One record at a time, as dictionaries: for low-volume readers and writers.

Timestamps are integers of milliseconds in both directions.
"""

from __future__ import annotations

import io
import json
from functools import cache, lru_cache
from typing import Any

import fastavro

from schemas.body_check import CheckProgram, build_check, find_fault
from schemas.body_faults import MESSAGES
from schemas.contracts import AvroSchema, known_schemas, load_schema, schema_fingerprint
from schemas.framing import SINGLE_OBJECT_MAGIC, FramingError, Headers, prefix, schema_guid
from schemas.resolver import LocalSchemas, SchemaResolver, UnknownSchema
from schemas.writer_schema import UnreadableSchema, parse_writer, plain_types


class UndecodableRecord(ValueError):
    """A record that does not follow its topic's contract."""


@cache
def _own(contract: str) -> Any:
    return fastavro.parse_schema(plain_types(load_schema(contract)))


@cache
def _fingerprint(contract: str) -> bytes:
    return schema_fingerprint(load_schema(contract))


@lru_cache(maxsize=64)  # versions of all contracts; parsing again for each record is slow
def _parsed(schema_text: str) -> tuple[Any, CheckProgram | None]:
    parsed = parse_writer(json.loads(schema_text))
    is_record = isinstance(parsed, dict) and parsed.get("type") == "record"
    return parsed, build_check(parsed) if is_record else None


_known: dict[int, tuple[AvroSchema, tuple[Any, CheckProgram | None]]] = {}
_MOST_KNOWN = 64


def _parsed_once(schema: AvroSchema) -> tuple[Any, CheckProgram | None]:
    """A parsed schema. Writing it as text, to look it up, takes as long as reading a record."""
    found = _known.get(id(schema))
    if found is not None and found[0] is schema:
        return found[1]
    parsed = _parsed(json.dumps(schema))
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[id(schema)] = schema, parsed  # the reference keeps the id from being used again
    return parsed


@cache
def _local(contract: str) -> LocalSchemas:
    return LocalSchemas(contract)


def encode_record(contract: str, record: dict[str, Any], schema_id: int | None = None) -> bytes:
    """Encode a record by its contract's schema; Confluent framing with an id, else single-object.

    Raises:
        ValueError: the record does not fit the schema.
    """
    out = io.BytesIO()
    out.write(prefix(_fingerprint(contract), schema_id))
    try:
        fastavro.schemaless_writer(out, _own(contract), record)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return out.getvalue()


def decode_record(
    contract: str,
    value: bytes | None,
    resolver: SchemaResolver | None = None,
    headers: Headers = None,
) -> dict[str, Any]:
    """A record of ``contract`` as a dictionary, read with its writer's schema.

    ``headers`` may name the schema; then the value is the body alone.

    Any error of the resolver other than ``UnknownSchema`` (such as a registry that does not
    answer) propagates: it says nothing about the record.

    Raises:
        UndecodableRecord: the framing, schema or body cannot be read.
    """
    if not value:
        raise UndecodableRecord("the value is empty")
    try:
        schema, start = _find_writer(contract, value, resolver or _local(contract), headers)
        writer, check = _parsed_once(schema)
    except (FramingError, UnknownSchema, UnreadableSchema) as error:
        raise UndecodableRecord(str(error)) from error
    if check is None:
        raise UndecodableRecord("not a record")
    code, where = find_fault(check, value[start:])
    if code:
        raise UndecodableRecord(MESSAGES[code].format(where))
    body = io.BytesIO(value[start:])
    try:
        record = fastavro.schemaless_reader(body, writer, _own(contract))
    except Exception as error:  # fastavro raises any exception type for untrusted bytes
        why = str(error) or type(error).__name__
        raise UndecodableRecord(f"cannot be read with its schema: {why}") from error
    if not isinstance(record, dict):
        raise UndecodableRecord("not a record")
    return record


def _find_writer(
    contract: str, value: bytes, resolver: SchemaResolver, headers: Headers
) -> tuple[AvroSchema, int]:
    if headers and (guid := schema_guid(headers)) is not None:
        return resolver.by_guid(guid), 0
    if value[:2] == SINGLE_OBJECT_MAGIC and len(value) >= 10:
        if (known := known_schemas(contract).get(value[2:10])) is not None:
            return known, 10
        return resolver.by_fingerprint(value[2:10]), 10
    if value[0] == 0 and len(value) >= 5:
        return resolver.by_id(int.from_bytes(value[1:5], "big")), 5
    raise UndecodableRecord(f"no known framing starts with the bytes {value[:4].hex(' ')}")
