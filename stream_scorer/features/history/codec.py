"""Snapshots and seeds as bytes, and back: a header line, then the records as little-endian words.

The bytes come from a store that others may write to. Decoding therefore checks sizes before it
allocates, the digest before it uses the records, and then their order. It raises ArtifactCorrupt
for every fault. What it cannot know is whether the records are the right ones: the caller compares
:attr:`~stream_scorer.features.history.header.SnapshotHeader.check_sum` with the check sum of the
restored history.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.features.history.header import (
    BODY_MAX_BYTES,
    HEADER_MAX_BYTES,
    KEYS_END,
    WORD_BYTES,
    Body,
    Compression,
    SeedHeader,
    SnapshotHeader,
    SpaceSize,
    parse_seed,
    parse_snapshot,
    seed_line,
    snapshot_line,
)
from stream_scorer.features.history.records import PartitionRecords

_LEVEL: Final = 1
"""zlib's fastest: records shrink to 40 % at 70 MB/s."""

_BLOCK_BYTES: Final = 1024 * 1024
"""zlib copies the input that it has not used after each call, so it gets the input in blocks."""

_MAX_EXPANSION: Final = 1040
"""zlib unpacks a byte to at most 1032 bytes, so a small object cannot announce large records."""

_SNAPSHOT_ADVICE: Final = "delete it, and an earlier snapshot and more inputs give the same history"
_SEED_ADVICE: Final = "copy it from a backup of the store, or train and publish the model again"


class SnapshotFacts(NamedTuple):
    """What the header of a snapshot says."""

    header: SnapshotHeader
    body: Body

    @property
    def state(self) -> tuple[object, ...]:
        """What two snapshots of one era, partition and offset have in common."""
        return (self.body.sha256, self.body.spaces, self.body.clock, self.header.check_sum)


class SeedFacts(NamedTuple):
    """What the header of a seed says."""

    header: SeedHeader
    body: Body


class Snapshot(NamedTuple):
    """A decoded snapshot."""

    header: SnapshotHeader
    body: Body
    records: PartitionRecords


class Seed(NamedTuple):
    """A decoded seed: the records of all cards, whatever their partition."""

    header: SeedHeader
    body: Body
    records: PartitionRecords


def encode_snapshot(
    header: SnapshotHeader, records: PartitionRecords, compression: Compression = "zlib"
) -> bytes:
    """A snapshot as bytes.

    Raises:
        StoreError: it is too large for any reader.
        ValueError: header or records are not those of a partition.
    """
    what = f"the history of partition {header.partition} at offset {header.next_offset}"
    body, stored = _pack(records, compression, what)
    return b"".join((snapshot_line(header, body), *stored))


def encode_seed(
    header: SeedHeader, records: PartitionRecords, compression: Compression = "zlib"
) -> bytes:
    """A seed as bytes. They depend on header and records alone.

    Raises:
        StoreError: it is too large for any reader.
        ValueError: header or records are not those of a history.
    """
    body, stored = _pack(records, compression, "the seed")
    return b"".join((seed_line(header, body), *stored))


def decode_snapshot(
    content: bytes, name: str, widths: Mapping[str, int], max_keys: int = KEYS_END
) -> Snapshot:
    """A snapshot and its records.

    Args:
        content: the whole object.
        name: of the object, for errors.
        widths: the words of a record by key space, in the order of the history's spec.
        max_keys: of each key space.

    Raises:
        ArtifactCorrupt: it is not an intact snapshot with such records.
    """
    with _described(name, _SNAPSHOT_ADVICE):
        line, stored = _split(content)
        header, body = parse_snapshot(line)
        return Snapshot(header, body, _unpack(body, stored, widths, max_keys))


def decode_seed(content: bytes, name: str, widths: Mapping[str, int]) -> Seed:
    """A seed and its records; see :func:`decode_snapshot`.

    Raises:
        ArtifactCorrupt: it is not an intact seed with such records.
    """
    with _described(name, _SEED_ADVICE):
        line, stored = _split(content)
        header, body = parse_seed(line)
        return Seed(header, body, _unpack(body, stored, widths, KEYS_END))


def read_facts(head: bytes, name: str) -> SnapshotFacts:
    """The header of a snapshot from its first ``HEADER_MAX_BYTES`` or more; no record is checked.

    Raises:
        ArtifactCorrupt: they are not the beginning of a snapshot.
    """
    with _described(name, _SNAPSHOT_ADVICE):
        return SnapshotFacts(*parse_snapshot(_split(head)[0]))


def read_seed_facts(head: bytes, name: str) -> SeedFacts:
    """The header of a seed from its first ``HEADER_MAX_BYTES`` or more; no record is checked.

    Raises:
        ArtifactCorrupt: they are not the beginning of a seed.
    """
    with _described(name, _SEED_ADVICE):
        return SeedFacts(*parse_seed(_split(head)[0]))


def most_keys(widths: Mapping[str, int]) -> int:
    """The largest ``max_keys`` of an era whose full partitions can be stored as snapshots."""
    return min(KEYS_END, BODY_MAX_BYTES // (WORD_BYTES * max(1, sum(widths.values()))))


@contextmanager
def _described(name: str, advice: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ArtifactCorrupt(f"{name} cannot be used: {error}; {advice}") from None
    except MemoryError:
        raise ArtifactCorrupt(f"{name} cannot be used: it does not fit into memory") from None


def _split(content: bytes) -> tuple[bytes, memoryview]:
    end = content.find(b"\n", 0, HEADER_MAX_BYTES)
    if end < 0:
        raise ValueError(f"its first {HEADER_MAX_BYTES} bytes contain no header line")
    return content[:end], memoryview(content)[end + 1 :]


def _pack(
    records: PartitionRecords, compression: Compression, what: str
) -> tuple[Body, list[bytes | memoryview]]:
    sizes, arrays = [], []
    for name, given in records.spaces.items():
        array = np.ascontiguousarray(given, dtype="<u8")
        _check_order(name, array)
        sizes.append(SpaceSize(name, *array.shape))
        arrays.append(array)
    if (size := sum(array.nbytes for array in arrays)) > BODY_MAX_BYTES:
        raise StoreError(
            f"{what} has {size} bytes, and the limit of a snapshot or seed is {BODY_MAX_BYTES}: "
            "use more partitions, or an era with a smaller HISTORY_MAX_KEYS"
        )
    digest = hashlib.sha256()
    raw = [array.reshape(-1).view(np.uint8).data for array in arrays]
    for block in raw:
        digest.update(block)
    stored: list[bytes | memoryview] = [*raw] if compression == "none" else [*_deflate(raw)]
    stored_bytes = sum(len(block) for block in stored)
    body = Body(records.clock, tuple(sizes), digest.hexdigest(), stored_bytes, compression)
    return body, stored


def _deflate(raw: list[memoryview]) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL)
    for part in raw:
        for at in range(0, len(part), _BLOCK_BYTES):
            yield packer.compress(part[at : at + _BLOCK_BYTES])
    yield packer.flush()


def _unpack(
    body: Body, stored: memoryview, widths: Mapping[str, int], max_keys: int
) -> PartitionRecords:
    """Check the sizes, then the digest, then the order of the records."""
    _check_sizes(body, len(stored), widths, max_keys)
    words = np.empty(body.bytes // WORD_BYTES, "<u8")
    target = words.view(np.uint8).data
    if body.compression == "none":
        target[:] = stored
    else:
        _inflate(stored, target)
    _check_digest(target, body.sha256)
    native = words.astype(np.uint64, copy=False)
    spaces: dict[str, NDArray[np.uint64]] = {}
    at = 0
    for space in body.spaces:
        end = at + space.keys * space.width
        spaces[space.name] = native[at:end].reshape(space.keys, space.width)
        _check_order(space.name, spaces[space.name])
        at = end
    return PartitionRecords(body.clock, spaces)


def _check_sizes(body: Body, stored_bytes: int, widths: Mapping[str, int], max_keys: int) -> None:
    """Before anything is allocated."""
    if stored_bytes != body.stored_bytes:
        raise ValueError(
            f"it has {stored_bytes} bytes after its header, which announces {body.stored_bytes}"
        )
    if [(space.name, space.width) for space in body.spaces] != list(widths.items()):
        found = ", ".join(f"{space.name} with {space.width} words" for space in body.spaces)
        wanted = ", ".join(f"{name} with {width} words" for name, width in widths.items())
        raise ValueError(f"its key spaces are {found or 'none'}, not {wanted}")
    for space in body.spaces:
        if space.keys > max_keys:
            raise ValueError(f"it has {space.keys} {space.name} keys; the limit is {max_keys}")
    is_possible = body.bytes <= _MAX_EXPANSION * stored_bytes
    if body.compression == "none":
        is_possible = body.bytes == stored_bytes
    if not is_possible:
        raise ValueError(
            f"its {stored_bytes} bytes cannot be the {body.bytes} bytes of records that its "
            "header announces"
        )


def _check_digest(raw: memoryview, sha256: str) -> None:
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ValueError("its records differ from those that were written (sha256)")


def _inflate(stored: memoryview, target: memoryview) -> None:
    """Fill ``target`` exactly; never more than a block is unpacked at once."""
    stream = zlib.decompressobj()
    filled = at = 0
    given: bytes | memoryview = b""
    try:
        while not stream.eof:
            if not given and at < len(stored):
                given = stored[at : at + _BLOCK_BYTES]
                at += len(given)
            room = min(_BLOCK_BYTES, len(target) - filled + 1)
            block = stream.decompress(given, room)
            if filled + len(block) > len(target):
                raise ValueError(f"it unpacks to more than the announced {len(target)} bytes")
            if not block and not stream.unconsumed_tail and at == len(stored) and not stream.eof:
                break
            target[filled : filled + len(block)] = block
            filled += len(block)
            given = stream.unconsumed_tail
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked: {error}") from None
    if not stream.eof:
        raise ValueError(f"it ends after {filled} of {len(target)} bytes, unpacked")
    if filled != len(target):
        raise ValueError(f"it unpacks to {filled} bytes, not to the announced {len(target)}")
    if stream.unused_data or at != len(stored):
        raise ValueError("it has bytes after the end of its records")


def _check_order(name: str, array: NDArray[np.uint64]) -> None:
    """Keys must ascend strictly: then each is there once, and equal states have equal bytes."""
    if array.ndim != 2 or array.shape[1] < 2:
        raise ValueError(f"the records of {name} are not rows of at least two words")
    card, rest = array[:, 0].view(np.int64), array[:, 1]
    is_later = (card[1:] > card[:-1]) | ((card[1:] == card[:-1]) & (rest[1:] > rest[:-1]))
    if not is_later.all():
        at = int(np.argmin(is_later)) + 1
        raise ValueError(f"record {at} of {name} is not after the one before it")
