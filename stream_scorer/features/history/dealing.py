"""Which partition a card's transactions are in, and records dealt to the partitions of their cards.

Producers key the input by ``card1`` as decimal text, and Kafka's Java clients choose the partition
by murmur2 of the key (``org.apache.kafka.common.utils.Utils.murmur2``, made positive, modulo the
number of partitions). A producer that does otherwise sends cards elsewhere: the records of such a
card are misplaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled, inlined
from stream_scorer.features.history.records import PartitionRecords

_MASK: Final = np.uint64(0xFFFFFFFF)
_SEED: Final = np.uint64(0x9747B28C)
_FACTOR: Final = np.uint64(0x5BD1E995)
_POSITIVE: Final = np.uint64(0x7FFFFFFF)
_R13, _R15, _R24 = np.uint64(13), np.uint64(15), np.uint64(24)
_U0, _U8, _U10 = np.uint64(0), np.uint64(8), np.uint64(10)
_ZERO: Final = np.uint8(48)
_MINUS: Final = np.uint8(45)
_MOST_CHARACTERS: Final = 20  # of a 64-bit number, sign included


class Dealt(NamedTuple):
    """Records by the partition of their card.

    Attributes:
        partitions: the records of each partition.
        total: records that were dealt.
        misplaced: records that were not in the partition of their card.
        dropped: records whose key was in two partitions; the one that was used last is kept.
    """

    partitions: list[PartitionRecords]
    total: int
    misplaced: int
    dropped: int


def card_partitions(cards: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """By card, the partition that a producer with murmur2 sends its transactions to.

    Args:
        cards: ``card1``.
        count: partitions of the topic.
    """
    out = np.empty(len(cards), np.int32)
    _hash_cards(cards, np.uint64(count), out)
    return out


def select(records: PartitionRecords, partition: int, count: int) -> PartitionRecords:
    """The records whose cards belong to a partition of a topic with ``count`` partitions."""
    spaces = {
        name: words[card_partitions(words[:, 0].view(np.int64), count) == partition]
        for name, words in records.spaces.items()
    }
    return PartitionRecords(records.clock, spaces)


def deal(records: Sequence[PartitionRecords], count: int) -> Dealt:
    """Deal the records of all partitions to the partitions of a topic that has ``count`` of them.

    Each clock is the latest of all clocks: it decides when unused records are removed, and which
    partition a card was in must not decide that.

    Args:
        records: of partition 0, 1 and so on, all of one spec.
        count: partitions of the topic from now on.
    """
    clock = max(of_partition.clock for of_partition in records)
    spaces: list[dict[str, NDArray[np.uint64]]] = [{} for _ in range(count)]
    total = misplaced = dropped = 0
    for name in records[0].spaces:
        cards = [r.spaces[name][:, 0].view(np.int64) for r in records]
        misplaced += sum(
            int(np.count_nonzero(card_partitions(c, len(records)) != p))
            for p, c in enumerate(cards)
        )
        words = np.concatenate([r.spaces[name] for r in records])
        unique = _latest(words)
        total += len(words)
        dropped += len(words) - len(unique)
        partitions = card_partitions(unique[:, 0].view(np.int64), count)
        for partition in range(count):
            spaces[partition][name] = unique[partitions == partition]
    dealt = [PartitionRecords(clock, of_partition) for of_partition in spaces]
    return Dealt(dealt, total, misplaced, dropped)


def _latest(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sorted by key, and of records with the same key the one that was used last."""
    cards = words[:, 0].view(np.int64)
    order = np.lexsort((words[:, 5], words[:, 2], words[:, 4], words[:, 1], cards))
    words = words[order]
    is_last = np.ones(len(words), np.bool_)
    is_last[:-1] = (words[1:, :2] != words[:-1, :2]).any(axis=1)
    found: NDArray[np.uint64] = words[is_last]
    return found


@compiled
def _hash_cards(cards: Any, count: Any, out: Any) -> None:
    text = np.empty(_MOST_CHARACTERS, np.uint8)
    for row in range(cards.shape[0]):
        first = _write(cards[row], text)
        out[row] = np.int32((_murmur2(text, first) & _POSITIVE) % count)


@inlined
def _write(card: Any, text: Any) -> Any:
    """Write a number as decimal text that ends with the array; where it begins."""
    rest = np.uint64(card)
    if card < 0:
        rest = _U0 - rest
    at = _MOST_CHARACTERS
    while True:
        at -= 1
        text[at] = _ZERO + np.uint8(rest % _U10)
        rest //= _U10
        if rest == _U0:
            break
    if card < 0:
        at -= 1
        text[at] = _MINUS
    return at


@inlined
def _murmur2(text: Any, first: Any) -> Any:
    """Kafka's murmur2 of ``text[first:]``, as an unsigned 32-bit number in a 64-bit one."""
    length = text.shape[0] - first
    h = _SEED ^ np.uint64(length)
    at = first
    while at + 4 <= text.shape[0]:
        k = _U0
        for i in range(4):
            k |= np.uint64(text[at + i]) << (_U8 * np.uint64(i))
        k = (k * _FACTOR) & _MASK
        k ^= k >> _R24
        k = (k * _FACTOR) & _MASK
        h = ((h * _FACTOR) & _MASK) ^ k
        at += 4
    if at < text.shape[0]:
        for i in range(text.shape[0] - at):
            h ^= np.uint64(text[at + i]) << (_U8 * np.uint64(i))
        h = (h * _FACTOR) & _MASK
    h ^= h >> _R13
    h = (h * _FACTOR) & _MASK
    return h ^ (h >> _R15)
