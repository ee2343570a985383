"""Which partition a card's transactions belong to: murmur2 of its number, as Kafka's clients do it.

Producers key transactions by ``card1`` as decimal text. A record that lies elsewhere was keyed or
partitioned in another way; the history of its card is then split between two partitions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.compiled import compiled
from schemas.contracts import NUMBER_INDEX
from schemas.layout import number_cells
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import CARD

_MAX_TEXT: Final = 20
_ZERO: Final = np.uint32(48)
_MINUS: Final = np.uint32(45)
_MAX_WHOLE: Final = 9007199254740992.0  # 2^53: doubles up to here are exact whole numbers
_SEED: Final = np.uint32(0x9747B28C)
_M: Final = np.uint32(0x5BD1E995)
_R24, _R13, _R15, _U8 = np.uint32(24), np.uint32(13), np.uint32(15), np.uint32(8)
_POSITIVE: Final = np.uint32(0x7FFFFFFF)


def partitions_of(cards: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """The partition of each card, int32 ``[n]``, in a topic of ``count`` partitions."""
    found = np.empty(len(cards), np.int32)
    _find_partitions(cards, count, found)
    return found


def cards_of(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The card of each record, int64 ``[n]``."""
    return np.ascontiguousarray(words[:, 0]).view(np.int64)


def select_records(records: PartitionRecords, partition: int, count: int) -> PartitionRecords:
    """The records whose cards belong to a partition of a topic with ``count`` partitions."""
    spaces = {
        name: words[partitions_of(cards_of(words), count) == partition]
        for name, words in records.spaces.items()
    }
    return PartitionRecords(records.clock, spaces)


def count_misplaced(batch: TransactionBatch, partitions: NDArray[np.int32], count: int) -> int:
    """How many of a batch's transactions lie in another partition than their card's.

    Args:
        batch: with the column ``card1``; rows without a whole number there are left out.
        partitions: int32 ``[len(batch)]``.
        count: partitions of the topic.
    """
    (cell,) = number_cells(batch.layout, [NUMBER_INDEX[CARD]])
    return int(_count_misplaced(batch.numbers, cell, partitions, count))


@compiled
def _find_partitions(cards: Any, count: Any, found: Any) -> None:
    text = np.empty(_MAX_TEXT, np.uint32)
    for i in range(cards.shape[0]):
        found[i] = _partition(cards[i], count, text)


@compiled
def _count_misplaced(numbers: Any, cell: Any, partitions: Any, count: Any) -> Any:
    text = np.empty(_MAX_TEXT, np.uint32)
    misplaced = 0
    for r in range(numbers.shape[0]):
        card = numbers[r, cell]
        if abs(card) <= _MAX_WHOLE and card == np.floor(card):
            misplaced += _partition(np.int64(card), count, text) != partitions[r]
    return misplaced


@compiled
def _partition(card: Any, count: Any, text: Any) -> Any:
    """``Utils.murmur2`` of kafka-clients over the decimal digits, positive, modulo ``count``."""
    start = _MAX_TEXT
    left = abs(card)
    while True:
        start -= 1
        text[start] = _ZERO + np.uint32(left % 10)
        left //= 10
        if left == 0:
            break
    if card < 0:
        start -= 1
        text[start] = _MINUS
    length = _MAX_TEXT - start
    h = _SEED ^ np.uint32(length)
    while start + 4 <= _MAX_TEXT:
        k = np.uint32(0)
        for i in range(4):
            k |= text[start + i] << (_U8 * np.uint32(i))
        k = np.uint32(k * _M)
        k = np.uint32((k ^ (k >> _R24)) * _M)
        h = np.uint32(np.uint32(h * _M) ^ k)
        start += 4
    if start < _MAX_TEXT:
        k = np.uint32(0)
        for i in range(_MAX_TEXT - start):
            k |= text[start + i] << (_U8 * np.uint32(i))
        h = np.uint32((h ^ k) * _M)
    h = np.uint32((h ^ (h >> _R13)) * _M)
    h ^= h >> _R15
    return np.int64(h & _POSITIVE) % count
