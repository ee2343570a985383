"""The digest of an audit, specified so that anybody can compute it independently. Pure.

All numbers are signed 64-bit little-endian.

1. The *leaf* of an outcome is SHA-256 over its offset, the partition and offset of its input, and
   the bytes of its value (no bytes for a null value).
2. The *chain* of one partition of scores, or of dead letters, begins with 32 zero bytes. For each
   outcome of an audited input, in offset order, it becomes SHA-256(chain + leaf). Outcomes that
   cannot be read, or whose inputs are outside the audited range, are left out.
3. The digest is SHA-256 over one ASCII line for each chain that has an outcome, ordered by kind
   (``dead_letter`` before ``score``) and then by partition: ``kind:partition:outcomes:chain`` and a
   line feed, the chain in hexadecimal.

Two audits of the same range have the same digest. An audit that continues from a state file has the
digest of one audit over the whole range, as long as the outcomes are in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.records.columns import LEAF_BYTES, NOT_HASHED, OutcomeKind

EMPTY_CHAIN: Final = bytes(LEAF_BYTES)


def leaf(offset: int, source_partition: int, source_offset: int, value: bytes | None) -> bytes:
    """The leaf of one outcome."""
    place = np.array([offset, source_partition, source_offset], "<i8").tobytes()
    return hashlib.sha256(place + (value or b"")).digest()


def value_hash(value: bytes | None) -> int:
    """The first 8 bytes of SHA-256 of a value, never ``NOT_HASHED``; null and empty differ."""
    if value is None:
        return -1
    found = int.from_bytes(hashlib.sha256(value).digest()[:8], "little", signed=True)
    return 1 if found in (NOT_HASHED, -1) else found


def leaves(places: NDArray[np.int64], values: list[bytes | None]) -> NDArray[np.uint8]:
    """The leaves of outcomes, uint8 ``[n, 32]``; ``places`` is int64 ``[n, 3]``."""
    if not values:
        return np.empty((0, LEAF_BYTES), np.uint8)
    sha256 = hashlib.sha256
    packed = np.ascontiguousarray(places, "<i8").tobytes()
    width = 24
    joined = b"".join(
        [
            sha256(packed[at : at + width] + (value or b"")).digest()
            for at, value in zip(range(0, len(packed), width), values, strict=True)
        ]
    )
    return np.frombuffer(joined, np.uint8).reshape(-1, LEAF_BYTES)


def extend_chain(chain: bytes, more: NDArray[np.uint8]) -> bytes:
    """The chain after appending leaves."""
    sha256 = hashlib.sha256
    packed = more.tobytes()
    for at in range(0, len(packed), LEAF_BYTES):
        chain = sha256(chain + packed[at : at + LEAF_BYTES]).digest()
    return chain


def combine(chains: Mapping[tuple[OutcomeKind, int], tuple[int, bytes]]) -> str:
    """The digest, in hexadecimal, of chains given as (number of outcomes, chain)."""
    digest = hashlib.sha256()
    for (kind, partition), (count, chain) in sorted(chains.items()):
        if count:
            digest.update(f"{kind}:{partition}:{count}:{chain.hex()}\n".encode())
    return digest.hexdigest()
