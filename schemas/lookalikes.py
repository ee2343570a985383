"""Names what a record looks like that is no transaction, with the way out.

Called for rejected records only; it never decides whether a record is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.contracts import ID

_BINARY: Final = (
    (b"\x1f\x8b", "gzip: let the producer send the value itself, with compression.type=gzip"),
    (b"(\xb5\x2f\xfd", "zstd: let the producer send the value itself, with compression.type=zstd"),
    (
        b"Obj\x01",
        "an Avro container file: send each record alone, with its schema id or fingerprint",
    ),
    (b"\xff\xfe", "UTF-16 text: write JSON in UTF-8"),
    (b"\xfe\xff", "UTF-16 text: write JSON in UTF-8"),
    (b"\xef\xbb\xbf", "text with a byte order mark: write JSON in UTF-8 without it"),
)
_UNWRAP: Final = "unwrap with the transform ExtractNewRecordState"
_WRAPPERS: Final = ("data", "value", "record", "transaction", "message", "body", "detail", "event")
_MAX_PROTOBUF_ID: Final = 2**29 - 1


def describe_bytes(value: bytes) -> str:
    """A hint for a value that is neither framed Avro nor JSON; empty if it looks like nothing."""
    for start, hint in _BINARY:
        if value.startswith(start):
            return f"; it looks like {hint}"
    if value[:1] == b"{" and value[1:4:2] == b"\x00\x00":
        return "; it looks like UTF-16 text: write JSON in UTF-8"
    if _is_protobuf(value):
        return "; it may be Protobuf, which is not supported: write Avro or JSON"
    return ""


def describe_confluent(value: bytes) -> str:
    """A hint for a value that begins like Confluent framing; empty if it looks like nothing."""
    if value.startswith(b"\x00{\x00"):
        return "; it looks like UTF-16 text: write JSON in UTF-8"
    return ""


def describe_object(value: Mapping[str, Any] | object) -> str:
    """A hint for a JSON object, or an Avro record's field names, without a transaction's fields."""
    if not isinstance(value, Mapping) or ID in value:
        return ""
    names = value.keys()
    if {"before", "after"} <= names and ("op" in names or "source" in names):
        return f"; it looks like a Debezium change event: {_UNWRAP}"
    if {"schema", "payload"} <= names:
        payload = value["payload"]
        if isinstance(payload, Mapping) and {"before", "after"} <= payload.keys():
            return (
                f"; it looks like a Debezium change event with its schema: {_UNWRAP}, and set "
                "value.converter.schemas.enable=false"
            )
        return (
            "; it looks like Kafka Connect's JSON with its schema: set "
            "value.converter.schemas.enable=false"
        )
    if "specversion" in names and "data" in names:
        return "; it looks like a CloudEvent: send its data alone, or unwrap it"
    for name in _WRAPPERS:
        if isinstance(inner := value.get(name), Mapping) and ID in inner:
            return f"; the transaction is inside {name!r}: send that object alone"
    return ""


def _is_protobuf(value: bytes) -> bool:
    """Whether the whole value can be read as Protobuf fields (wire types 0, 1, 2 and 5)."""
    at, fields = 0, 0
    while at < len(value):
        key, at = _varint(value, at)
        kind = key & 7
        if not 1 <= key >> 3 <= _MAX_PROTOBUF_ID or kind not in (0, 1, 2, 5):
            return False
        if kind == 0:
            number, at = _varint(value, at)
            if number < 0:
                return False
        elif kind == 2:
            size, at = _varint(value, at)
            at += size if size >= 0 else len(value) + 1
        else:
            at += 8 if kind == 1 else 4
        if at > len(value):
            return False
        fields += 1
        if fields > 1000:
            return True
    return fields > 1  # one field is too easily a coincidence


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A varint and the position after it; -1 if there is none."""
    number = shift = 0
    while at < len(value) and shift < 70:
        byte = value[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    return -1, len(value)
