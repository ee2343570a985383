"""Redistributes the records of all partitions to those of a topic with another partition count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.state.placement import cards_of, partitions_of

_Words = NDArray[np.uint64]


class Redistributed(NamedTuple):
    """Records by the partition of their card.

    Attributes:
        partitions: the records of each partition.
        total: records before.
        misplaced: records that were not in the partition of their card.
        dropped: records whose key was in two partitions; the one that was used last is kept.
    """

    partitions: list[PartitionRecords]
    total: int
    misplaced: int
    dropped: int


def redistribute(records: Sequence[PartitionRecords], count: int) -> Redistributed:
    """Move each record to the partition of its card in a topic with ``count`` partitions.

    Each clock is the latest of all clocks: it decides when unused records are removed, and which
    partition a card was in must not decide that.

    Args:
        records: of partition 0, 1 and so on, all of one spec.
        count: partitions of the topic from now on.
    """
    clock = max(of_partition.clock for of_partition in records)
    spaces: list[dict[str, _Words]] = [{} for _ in range(count)]
    total = misplaced = dropped = 0
    for name in records[0].spaces:
        parts = [of_partition.spaces[name] for of_partition in records]
        misplaced += sum(
            int(np.count_nonzero(_partitions(words, len(parts)) != partition))
            for partition, words in enumerate(parts)
        )
        words = np.concatenate(parts)
        unique = _latest(words)
        total += len(words)
        dropped += len(words) - len(unique)
        partitions = _partitions(unique, count)
        for partition in range(count):
            spaces[partition][name] = unique[partitions == partition]
    moved = [PartitionRecords(clock, of_partition) for of_partition in spaces]
    return Redistributed(moved, total, misplaced, dropped)


def _partitions(words: _Words, count: int) -> NDArray[np.int32]:
    return partitions_of(cards_of(words), count)


def _latest(words: _Words) -> _Words:
    """Sorted by key, and of records with the same key the one that was used last."""
    last_time, count, transaction = words[:, 4], words[:, 2], words[:, 5]
    order = np.lexsort((transaction, count, last_time, words[:, 1], cards_of(words)))
    words = words[order]
    is_last = np.ones(len(words), np.bool_)
    is_last[:-1] = (words[1:, :2] != words[:-1, :2]).any(axis=1)
    found: _Words = words[is_last]
    return found
