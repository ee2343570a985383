"""Snapshots, seeds and eras for tests; the records are random, and not those of any input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.history.codec import encode_seed, encode_snapshot
from stream_scorer.features.history.header import Compression, SeedHeader, SnapshotHeader
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.model.store.history_era import Era, EraSeed

WIDTHS: Final = {"client": 12, "card": 5}
SPEC: Final = "0123456789abcdef" * 4
NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
ERA: Final = Era(
    spec=SPEC,
    number=3,
    topic="transactions",
    topic_id="5OmKoJvRQ0+a/x_-Y8fZgA",
    begin=(10, 20, 30),
    seed=EraSeed("ab" * 32, 86_400),
    max_keys=1_000_000,
    is_cold=False,
    why="a test",
    created=NOW,
    id="00112233445566778899aabbccddeeff",
)


def make_records(
    keys: int = 50, seed: int = 1, widths: Mapping[str, int] = WIDTHS
) -> PartitionRecords:
    """Sorted records of random words; some cards are negative, and some have several keys."""
    rng = np.random.default_rng(seed)
    spaces: dict[str, NDArray[np.uint64]] = {}
    for name, width in widths.items():
        words = rng.integers(0, 2**64, (keys, width), dtype=np.uint64)
        words[:, 0] = rng.integers(-3, 3 + keys // 4, keys).astype(np.int64).view(np.uint64)
        words[:, 4:] &= np.uint64(0xFFFF)  # most real words are small numbers: they compress
        order = np.lexsort((words[:, 1], words[:, 0].view(np.int64)))
        spaces[name] = np.ascontiguousarray(words[order])
    return PartitionRecords(86_400 + keys, spaces)


def plain_sum(records: PartitionRecords) -> int:
    """A check sum of a state, in the manner of the real one: of every word, and of the clock."""
    total = records.clock
    for name, words in records.spaces.items():
        for row in words:
            digest = hashlib.sha256(name.encode() + row.tobytes()).digest()
            total += int.from_bytes(digest[:8], "little")
    return total % 2**64


def make_header(
    records: PartitionRecords,
    era: Era = ERA,
    partition: int = 1,
    next_offset: int = 25,
    **more: Any,
) -> SnapshotHeader:
    """The header of a snapshot of these records."""
    given: dict[str, Any] = {
        "dead_letter_offset": 7,
        "check_sum": plain_sum(records),
        "writer": "scorer-1",
        "created": NOW,
    }
    return era.header(partition, next_offset, **(given | more))


def make_snapshot(
    partition: int = 1,
    next_offset: int = 25,
    records: PartitionRecords | None = None,
    era: Era = ERA,
    compression: Compression = "zlib",
    **more: Any,
) -> bytes:
    """A snapshot as bytes; by default its records depend on partition and offset."""
    if records is None:
        records = make_records(seed=1000 * partition + next_offset)
    header = make_header(records, era, partition, next_offset, **more)
    return encode_snapshot(header, records, compression)


def make_seed(records: PartitionRecords | None = None, spec: str = SPEC) -> bytes:
    """A seed as bytes."""
    return encode_seed(SeedHeader(spec, 86_400), records or make_records(seed=99))


def next_era(era: Era, **more: Any) -> Era:
    """The era with the next number, and an id of its own."""
    number = era.number + 1
    return replace(era, number=number, id=f"{number:032x}", **more)


def edit_header(content: bytes, **more: Any) -> bytes:
    """The snapshot or seed with other members in its header; None as a member's value is null."""
    line, _, body = content.partition(b"\n")
    return json.dumps(json.loads(line) | more).encode() + b"\n" + body
