"""Kafka's murmur2 in plain Python, as the reference for the compiled one."""

from __future__ import annotations


def murmur2(key: bytes) -> int:
    """Utils.murmur2 of kafka-clients, as an unsigned 32-bit number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) - len(key) % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if tail := key[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def murmur2_partition(key: bytes, partitions: int) -> int:
    """The partition that the Java client chooses for a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
