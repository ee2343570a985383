"""Decodes only the first fields of a score record.

At 1,000 scores per second a full decode of each record would use most of a core. A score that is
not flagged is only counted. The first fields contain all that counting needs.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from schemas.contracts import AvroSchema, load_schema
from schemas.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC
from schemas.resolver import SchemaResolver, UnknownSchema

_FIELDS: Final = 9  # transaction_id … event_time: the fields this module reads
_DOUBLE: Final = struct.Struct("<d")
_TWO_DOUBLES: Final = struct.Struct("<dd")
_MAX_VARINT_BYTES: Final = 10  # of a 64-bit zigzag integer (Avro specification, "Binary encoding")
_DECISIONS: Final = 3
SAMPLED_FIELD: Final = "is_sampled"
_BLOCK: Final = 2 * 2  # the third decision, as a zigzag integer


class Prefix(NamedTuple):
    """The first fields of a score record. ``end`` is where the fields after them start."""

    score: float
    is_flagged: bool
    is_blocked: bool
    end: int


class Stamp(NamedTuple):
    """The fields after the prefix: the model that scored, and two times in epoch milliseconds."""

    review_threshold: float
    block_threshold: float
    model_version: str
    scored_at: int
    event_time: int | None


class PrefixReader:
    """Reads prefixes of score records. Resolves each writer schema once.

    Used by one thread.
    """

    def __init__(self, resolver: SchemaResolver) -> None:
        self._resolver = resolver
        self._has_known_prefix: dict[bytes, bool] = {}
        self._last_frame = b"\0no frame"  # most records have the same one

    def read(self, value: bytes) -> Prefix | None:
        """The prefix. None if the writer schema starts differently and needs a full decode.

        Raises:
            ValueError: the bytes are not a score record.
            UnknownSchema: the writer schema is not known.
        """
        if value.startswith(self._last_frame):
            return read_prefix(value, len(self._last_frame))
        start = self._body(value)
        if start is None:
            return None
        self._last_frame = value[:start]
        return read_prefix(value, start)

    def _body(self, value: bytes) -> int | None:
        if value[:1] == CONFLUENT_MAGIC:
            start = 5
        elif value[:2] == SINGLE_OBJECT_MAGIC:
            start = 10
        else:
            raise ValueError("unknown framing")
        frame = value[:start]
        is_known = self._has_known_prefix.get(frame)
        if is_known is None:
            is_known = self._has_known_prefix[frame] = self._compare(frame)
        return start if is_known else None

    def _compare(self, frame: bytes) -> bool:
        if len(frame) < 5:
            raise ValueError("the framing is truncated")
        if len(frame) == 5:
            writer = self._resolver.by_id(int.from_bytes(frame[1:], "big"))
        else:
            writer = self._resolver.by_fingerprint(frame[2:])
        is_same = _first_fields(writer) == _first_fields(load_schema("fraud_score"))
        return is_same and _ends_readably(writer)


def read_prefix(value: bytes, start: int) -> Prefix:
    """The prefix of an Avro body (long, double, enum, boolean) that starts at ``start``.

    Raises:
        ValueError: the record is truncated, or its values are out of range.
    """
    at = _skip_varint(value, start)
    if len(value) < at + 10:
        raise ValueError("the record is truncated")
    (score,) = _DOUBLE.unpack_from(value, at)
    decision, flag = value[at + 8], value[at + 9]
    if not 0.0 <= score <= 1.0 or decision % 2 or decision // 2 >= _DECISIONS or flag > 1:
        raise ValueError("not a score record")
    return Prefix(score, flag == 1, decision == _BLOCK, at + 10)


def read_stamp(value: bytes, at: int) -> Stamp:
    """The stamp that starts at ``at``: two doubles, a string, a long, and a long or null.

    Raises:
        ValueError: the record is truncated.
    """
    if len(value) < at + 18:
        raise ValueError("the record is truncated")
    review, block = _TWO_DOUBLES.unpack_from(value, at)
    length, at = read_varint(value, at + 16)
    if not 0 <= length <= len(value) - at:
        raise ValueError("the record is truncated")
    version = value[at : at + length].decode("utf-8")
    scored_at, at = read_varint(value, at + length)
    branch, at = read_varint(value, at)
    event_time = read_varint(value, at)[0] if branch else None
    return Stamp(review, block, version, scored_at, event_time)


def _skip_varint(value: bytes, at: int) -> int:
    end = min(len(value), at + _MAX_VARINT_BYTES)
    while at < end and value[at] & 0x80:
        at += 1
    return at + 1


def read_varint(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag integer and the position after it."""
    end = _skip_varint(value, at)
    if end > len(value):
        raise ValueError("the record is truncated")
    raw = 0
    for shift, byte in enumerate(value[at:end]):
        raw |= (byte & 0x7F) << (7 * shift)
    return (raw >> 1) ^ -(raw & 1), end


def _ends_readably(schema: AvroSchema) -> bool:
    """Whether the last byte of an unflagged record is 1 only if it was sampled.

    The last field is ``is_sampled``, or in the schema before, the context, which is null.
    """
    names = [field["name"] for field in schema.get("fields", [])]
    return SAMPLED_FIELD not in names or names[-1] == SAMPLED_FIELD


def _first_fields(schema: AvroSchema) -> list[object]:
    """Names and types of the first fields of a record, without docs and defaults."""
    found: list[object] = []
    for field in schema.get("fields", [])[:_FIELDS]:
        kind = field["type"]
        if isinstance(kind, dict):
            kind = kind.get("symbols") or kind.get("type")
        found.append((field["name"], tuple(kind) if isinstance(kind, list) else kind))
    return found


__all__ = [
    "Prefix",
    "PrefixReader",
    "Stamp",
    "UnknownSchema",
    "read_prefix",
    "read_stamp",
    "read_varint",
]
