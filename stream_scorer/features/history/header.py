"""The first line of a stored history, a JSON object: what the records after it belong to.

A snapshot's line, here with line ends and indented::

    {"format": 1, "kind": "snapshot", "spec": "9f3c…", "era": 3, "era_id": "4b1d…",
     "topic": "transactions", "topic_id": "5OmK…", "partition": 7, "partition_count": 12,
     "next_offset": 123456, "dead_letter_offset": 81, "check_sum": "00c0ffee00c0ffee",
     "writer": "scorer-5d8f7", "created": "2026-01-31T12:00:00Z", "base": null, "clock": 86400,
     "spaces": [{"name": "client", "keys": 1000, "width": 39}, …],
     "body": {"sha256": "ab12…", "bytes": 120531, "compression": "zlib"}}

A seed's line has ``"kind": "seed"``, ``spec`` and ``as_of``, and the last three members. Members
that this release does not know are ignored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from stream_scorer.runtime.json_fields import JsonFields, format_time
from stream_scorer.runtime.json_limits import parse_object

FORMAT: Final = 1

HEADER_MAX_BYTES: Final = 64 * 1024
"""A header of three key spaces has less than one kilobyte."""

BODY_MAX_BYTES: Final = 2 * 1024**3
"""Of the records, unpacked. A million keys in each key space of the default features are 0.7 GB."""

STORED_MAX_BYTES: Final = HEADER_MAX_BYTES + BODY_MAX_BYTES + BODY_MAX_BYTES // 1000
"""Of a snapshot or seed as it is stored. zlib makes records that it cannot pack a little larger."""

WORD_BYTES: Final = 8

OFFSETS_END: Final = 2**63 - 1
TIMES_END: Final = 2**32 - 1
"""The largest ``TransactionDT`` that a history takes."""

KEYS_END: Final = 2**31 - 1
"""Keys of one key space; the index of a table has 32-bit numbers."""

PARTITIONS_MAX: Final = 10_000
ERA_NUMBER_MAX: Final = 999_999

SPEC: Final = re.compile(r"[0-9a-f]{64}")
SHA256: Final = SPEC
ERA_ID: Final = re.compile(r"[0-9a-f]{32}")
TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
TOPIC_ID: Final = re.compile(r"[A-Za-z0-9+/=_-]{0,64}")
"""Base64; empty where brokers give topics no id."""

_CHECK_SUM: Final = re.compile(r"[0-9a-f]{16}")
_SPACE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_SPACES_MAX: Final = 64
_WIDTH_MAX: Final = 4096
_WRITER_MAX_CHARACTERS: Final = 200
_SNAPSHOT: Final = "snapshot"
_SEED: Final = "seed"

Compression = Literal["zlib", "none"]


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot belongs to: the state of one partition before ``next_offset``.

    Two writers of one snapshot may differ in ``writer`` and ``created``, and in
    ``dead_letter_offset``, which each asks the broker for. All else follows from era, partition and
    offset.
    """

    spec: str
    """The fingerprint of the history features, 64 hexadecimal digits."""
    era: int
    era_id: str
    """Of the era's file: the snapshots of a build that was given up are of no era."""
    topic: str
    topic_id: str
    partition: int
    partition_count: int
    next_offset: int
    dead_letter_offset: int
    """Dead letters of inputs from ``next_offset`` on have at least this offset in the partition of
    the same number of the dead letter topic."""
    check_sum: int
    """64 bits, of the state, clock included. The digest finds damage; this finds records that are
    not those that the partition's history computed."""
    writer: str
    created: datetime


@dataclass(frozen=True, slots=True)
class SeedHeader:
    """What a seed belongs to."""

    spec: str
    as_of: int
    """The last ``TransactionDT`` that the records contain."""


@dataclass(frozen=True, slots=True)
class SpaceSize:
    """The number of records of a key space, and the words of each."""

    name: str
    keys: int
    width: int

    @property
    def bytes(self) -> int:
        """Bytes of all records."""
        return self.keys * self.width * WORD_BYTES


@dataclass(frozen=True, slots=True)
class Body:
    """The records that follow the line."""

    clock: int
    spaces: tuple[SpaceSize, ...]
    sha256: str
    """Of the records unpacked, so that it does not depend on their compression."""
    stored_bytes: int
    compression: Compression

    @property
    def bytes(self) -> int:
        """Bytes of the records, unpacked."""
        return sum(space.bytes for space in self.spaces)


def parse_snapshot(line: bytes) -> tuple[SnapshotHeader, Body]:
    """The header of a snapshot.

    Raises:
        ValueError: it is none; the message is part of a sentence.
    """
    fields = _parse(line, _SNAPSHOT)
    if not fields.is_null("base"):
        raise ValueError(
            "it holds only the differences to another snapshot, as a later release writes"
        )
    partition_count = fields.integer("partition_count", 1, PARTITIONS_MAX)
    header = SnapshotHeader(
        spec=fields.text("spec", SPEC, "64 hexadecimal digits"),
        era=fields.integer("era", 1, ERA_NUMBER_MAX),
        era_id=fields.text("era_id", ERA_ID, "32 hexadecimal digits"),
        topic=fields.text("topic", TOPIC, "the name of a topic"),
        topic_id=fields.text("topic_id", TOPIC_ID, "a topic id"),
        partition=fields.integer("partition", 0, partition_count - 1),
        partition_count=partition_count,
        next_offset=fields.integer("next_offset", 0, OFFSETS_END),
        dead_letter_offset=fields.integer("dead_letter_offset", 0, OFFSETS_END),
        check_sum=int(fields.text("check_sum", _CHECK_SUM, "16 hexadecimal digits"), 16),
        writer=fields.note("writer", _WRITER_MAX_CHARACTERS),
        created=fields.time("created"),
    )
    return header, _parse_body(fields)


def parse_seed(line: bytes) -> tuple[SeedHeader, Body]:
    """The header of a seed.

    Raises:
        ValueError: it is none; the message is part of a sentence.
    """
    fields = _parse(line, _SEED)
    spec = fields.text("spec", SPEC, "64 hexadecimal digits")
    return SeedHeader(spec, fields.integer("as_of", 0, TIMES_END)), _parse_body(fields)


def snapshot_line(header: SnapshotHeader, body: Body) -> bytes:
    """The line of a snapshot, with its end.

    Raises:
        ValueError: the header could not be read again.
    """
    line = _format(
        _SNAPSHOT,
        {
            "spec": header.spec,
            "era": header.era,
            "era_id": header.era_id,
            "topic": header.topic,
            "topic_id": header.topic_id,
            "partition": header.partition,
            "partition_count": header.partition_count,
            "next_offset": header.next_offset,
            "dead_letter_offset": header.dead_letter_offset,
            "check_sum": f"{header.check_sum:016x}",
            "writer": header.writer,
            "created": format_time(header.created),
            "base": None,
        },
        body,
    )
    if parse_snapshot(line) != (header, body):
        raise ValueError(f"not the header of a snapshot: {header}, {body}")
    return line


def seed_line(header: SeedHeader, body: Body) -> bytes:
    """The line of a seed, with its end.

    Raises:
        ValueError: the header could not be read again.
    """
    line = _format(_SEED, {"spec": header.spec, "as_of": header.as_of}, body)
    if parse_seed(line) != (header, body):
        raise ValueError(f"not the header of a seed: {header}, {body}")
    return line


def _parse(line: bytes, kind: str) -> JsonFields:
    try:
        fields = JsonFields(parse_object(line))
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from None
    if (found := fields.choice("kind", (_SNAPSHOT, _SEED))) != kind:
        raise ValueError(f"it is a {found}, not a {kind}")
    if (version := fields.integer("format", 1, KEYS_END)) != FORMAT:
        raise ValueError(f"it has format {version}, and this release reads format {FORMAT}")
    return fields


def _parse_body(fields: JsonFields) -> Body:
    spaces = tuple(
        SpaceSize(
            row.text("name", _SPACE_NAME, "the name of a key space"),
            row.integer("keys", 0, KEYS_END),
            row.integer("width", 2, _WIDTH_MAX),
        )
        for row in fields.rows("spaces", _SPACES_MAX)
    )
    stored = fields.inner("body")
    body = Body(
        clock=fields.integer("clock", -1, TIMES_END),
        spaces=spaces,
        sha256=stored.text("sha256", SHA256, "64 hexadecimal digits"),
        stored_bytes=stored.integer("bytes", 0, STORED_MAX_BYTES),
        compression="none" if stored.choice("compression", ("zlib", "none")) == "none" else "zlib",
    )
    if body.bytes > BODY_MAX_BYTES:
        raise ValueError(f"it holds {body.bytes} bytes of records; the limit is {BODY_MAX_BYTES}")
    return body


def _format(kind: str, members: dict[str, Any], body: Body) -> bytes:
    spaces = [{"name": s.name, "keys": s.keys, "width": s.width} for s in body.spaces]
    stored = {
        "sha256": body.sha256,
        "bytes": body.stored_bytes,
        "compression": body.compression,
    }
    line = {
        "format": FORMAT,
        "kind": kind,
        **members,
        "clock": body.clock,
        "spaces": spaces,
        "body": stored,
    }
    return json.dumps(line).encode() + b"\n"
