"""One record at a time, as dictionaries: for readers and writers of low volume.

Timestamps are plain integers of milliseconds on both sides.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import fastavro

from schemas.contracts import AvroSchema, known_schemas, load_schema, schema_fingerprint
from schemas.framing import SINGLE_OBJECT_MAGIC, prefix
from schemas.resolver import LocalSchemas, SchemaResolver
from schemas.transaction_codec import plain_types


class UndecodableRecord(ValueError):
    """A record that is not what its topic promises."""


@cache
def _own(contract: str) -> Any:
    return fastavro.parse_schema(plain_types(load_schema(contract)))


@cache
def _by_fingerprint(contract: str) -> dict[bytes, Any]:
    return {
        mark: fastavro.parse_schema(plain_types(schema))
        for mark, schema in known_schemas(contract).items()
    }


def encode_record(contract: str, record: dict[str, Any], schema_id: int | None = None) -> bytes:
    """A record by its contract's schema; Confluent framing with an id, single-object without.

    Raises:
        ValueError: the record does not fit the schema.
    """
    out = io.BytesIO()
    out.write(prefix(schema_fingerprint(load_schema(contract)), schema_id))
    fastavro.schemaless_writer(out, _own(contract), record)
    return out.getvalue()


def decode_record(
    contract: str, value: bytes | None, resolver: SchemaResolver | None = None
) -> dict[str, Any]:
    """A record of ``contract`` as a dictionary, read by the schema it was written with.

    Raises:
        UndecodableRecord: framing, schema or body are not readable.
    """
    if not value:
        raise UndecodableRecord("the value is empty")
    try:
        writer, start = _writer(contract, value, resolver or LocalSchemas(contract))
        record = fastavro.schemaless_reader(io.BytesIO(value[start:]), writer, _own(contract))
    except LookupError as error:
        raise UndecodableRecord(str(error)) from error
    except UndecodableRecord:
        raise
    except Exception as error:  # untrusted bytes raise anything in there
        raise UndecodableRecord(f"not readable by its schema: {error}") from error
    if not isinstance(record, dict):
        raise UndecodableRecord("not a record")
    return record


def _writer(contract: str, value: bytes, resolver: SchemaResolver) -> tuple[AvroSchema, int]:
    if value[:2] == SINGLE_OBJECT_MAGIC and len(value) >= 10:
        known = _by_fingerprint(contract).get(value[2:10])
        if known is not None:
            return known, 10
        schema = resolver.by_fingerprint(value[2:10])
        return fastavro.parse_schema(plain_types(schema)), 10
    if value[0] == 0 and len(value) >= 5:
        schema = resolver.by_id(int.from_bytes(value[1:5], "big"))
        return fastavro.parse_schema(plain_types(schema)), 5
    raise UndecodableRecord(f"no known framing starts with the bytes {value[:4].hex(' ')}")
