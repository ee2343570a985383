"""The wire formats: how a record's first bytes and headers describe its body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.lookalikes import describe_bytes
from schemas.resolver import SchemaKey
from schemas.spans import Spans

Header = tuple[str, bytes | str | None]
Headers = Sequence[Header] | None

MAX_RECORD_BYTES: Final = 1024 * 1024
"""A full transaction is about 2 kB of Avro or 8 kB of JSON; a megabyte is not a transaction."""

SCHEMA_ID_HEADER: Final = "__value_schema_id"
CONFLUENT_MAGIC: Final = b"\x00"
SINGLE_OBJECT_MAGIC: Final = b"\xc3\x01"
_GUID_MAGIC: Final = 1
_GUID_BYTES: Final = 17  # magic byte and GUID
_CONFLUENT_BYTES: Final = 5
_FRAME_BYTES: Final = 10  # of the longest framing, single-object encoding
_MANY: Final = 16  # in a smaller batch, grouping records by framing costs more than it saves
_MAX_ALIKE: Final = 8  # framings that are grouped per batch
_JSON_OBJECT: Final = frozenset(b"{ \t\r\n")


class Format(Enum):
    """The format of the body."""

    AVRO = "avro"
    JSON = "json"


class Frame(NamedTuple):
    """A record's framing: the format, the key of the writer's schema, where the body starts."""

    format: Format
    key: SchemaKey | None
    body_start: int


class FramingError(ValueError):
    """The value has no known framing."""


def read_frame(value: bytes, headers: Headers) -> Frame:
    """Recognise one record's framing.

    The ``__value_schema_id`` header takes precedence; then Confluent framing (magic 0, 4-byte
    big-endian id), Avro single-object encoding (Avro specification, "Single-object encoding"),
    JSON.

    Raises:
        FramingError: the framing is none of these.
    """
    if headers and (guid := schema_guid(headers)) is not None:
        return Frame(Format.AVRO, guid, 0)
    if not value:
        raise FramingError("the value is empty")
    if value[0] == 0:
        if len(value) < 5:
            raise FramingError(f"Confluent framing needs 5 bytes, the value has {len(value)}")
        return Frame(Format.AVRO, int.from_bytes(value[1:5], "big"), 5)
    if value[:2] == SINGLE_OBJECT_MAGIC:
        if len(value) < 10:
            raise FramingError(f"single-object encoding needs 10 bytes, there are {len(value)}")
        return Frame(Format.AVRO, value[2:10], 10)
    if value[0] in _JSON_OBJECT or _is_json(value):
        return Frame(Format.JSON, None, 0)
    shown = value[:4].hex(" ")
    raise FramingError(f"no known framing starts with the bytes {shown}{describe_bytes(value)}")


def alike_frames(
    headers: Sequence[Headers], joined: bytes, spans: Spans
) -> Iterator[NDArray[np.int64]]:
    """Rows grouped by identical framing bytes, for the first few framings.

    Records whose headers name the schema are not included. A topic has few writers, and resolving
    the schema of each record costs more than decoding it. ``joined`` must continue for at least
    ten bytes after the last record.
    """
    if len(headers) < _MANY:
        return
    heads = np.frombuffer(joined, np.uint8)[spans.begin[:, None] + np.arange(_FRAME_BYTES)]
    is_confluent = heads[:, 0] == CONFLUENT_MAGIC[0]
    usual = spans.size >= np.where(is_confluent, _CONFLUENT_BYTES, _FRAME_BYTES)
    usual &= (spans.size <= MAX_RECORD_BYTES) & (
        is_confluent | (heads[:, 0] == SINGLE_OBJECT_MAGIC[0])
    )
    if any(headers):
        usual &= np.array([not names_schema(h) for h in headers], np.bool_)
    for _ in range(_MAX_ALIKE):
        if not usual.any():
            return
        first = usual.argmax()
        width = _CONFLUENT_BYTES if is_confluent[first] else _FRAME_BYTES
        alike = usual & (heads[:, :width] == heads[first, :width]).all(axis=1)
        usual &= ~alike
        yield np.flatnonzero(alike)


def names_schema(headers: Headers) -> bool:
    """Whether a record's headers, and not its first bytes, say who has written it."""
    return bool(headers) and SCHEMA_ID_HEADER in [name for name, _ in headers or ()]


def _is_json(value: bytes) -> bool:
    """Whether a value is JSON other than an object, so that the decoder can name its type."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


def schema_guid(headers: Sequence[Header]) -> bytes | None:
    """The GUID of the writer's schema in the ``__value_schema_id`` header; None without one.

    Raises:
        FramingError: the header holds anything else.
    """
    for name, data in headers:
        if name != SCHEMA_ID_HEADER:
            continue
        if isinstance(data, bytes) and len(data) == _GUID_BYTES and data[0] == _GUID_MAGIC:
            return data[1:]
        raise FramingError(f"header {SCHEMA_ID_HEADER} is not 0x01 and a 16-byte GUID")
    return None


def prefix(fingerprint: bytes, schema_id: int | None) -> bytes:
    """The bytes before an Avro body: Confluent framing if there is an id, else single-object."""
    if schema_id is None:
        return SINGLE_OBJECT_MAGIC + fingerprint
    return CONFLUENT_MAGIC + schema_id.to_bytes(4, "big")


__all__ = [
    "MAX_RECORD_BYTES",
    "Format",
    "Frame",
    "FramingError",
    "Headers",
    "alike_frames",
    "names_schema",
    "prefix",
    "read_frame",
    "schema_guid",
]
