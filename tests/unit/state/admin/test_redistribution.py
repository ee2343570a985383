"""Records move to the partition that producers choose for their card."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.state.admin.redistribution import redistribute
from tests.support.kafka.murmur2 import murmur2, murmur2_partition

WIDTH = 10


def make_words(cards: list[int], seed: int = 1) -> NDArray[np.uint64]:
    """Records of cards, two for each, sorted; all other words are arbitrary and not 0."""
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 2**40, (2 * len(cards), WIDTH)).astype(np.uint64)
    words[:, 0] = np.repeat(np.array(sorted(cards), np.int64), 2).view(np.uint64)
    words[:, 1] = np.tile(np.array([5, 2**63 + 5], np.uint64), len(cards))
    return words


def of_partition(
    cards: list[int], partition: int, count: int, clock: int = 500, **seeds: int
) -> PartitionRecords:
    """The records of those cards that belong to a partition, by key space with a seed."""
    own = [card for card in cards if murmur2_partition(str(card).encode(), count) == partition]
    spaces = {
        name: np.array(
            [row for row in make_words(cards, seed) if int(row.view(np.int64)[0]) in own],
            np.uint64,
        ).reshape(-1, WIDTH)
        for name, seed in seeds.items()
    }
    return PartitionRecords(clock, spaces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"abc", 479470107),
    ],
)
def test_reference_agrees_with_the_tests_of_kafka_clients(text: bytes, expected: int) -> None:
    assert murmur2(text) == expected % 2**32


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_record_gets_to_the_partition_of_its_card(count: int) -> None:
    cards = list(range(-40, 400, 7))
    before = [of_partition(cards, p, 2, 500 - p, client=1, mail=2) for p in range(2)]
    moved = redistribute(before, count)
    assert (moved.total, moved.misplaced, moved.dropped) == (4 * len(cards), 0, 0)
    assert len(moved.partitions) == count
    for partition, found in enumerate(moved.partitions):
        expected = of_partition(cards, partition, count, client=1, mail=2)
        assert found.clock == 500
        assert list(found.spaces) == ["client", "mail"]
        for name, words in found.spaces.items():
            assert len(words) > 0
            np.testing.assert_array_equal(words, expected.spaces[name])


def test_redistributed_records_are_in_the_order_of_snapshots() -> None:
    words = make_words([-5, -1, 0, 3, 12345678901])
    (found,) = redistribute([PartitionRecords(1, {"client": words[::-1]})], 1).partitions
    np.testing.assert_array_equal(found.spaces["client"], words)


def test_of_two_records_of_one_key_the_one_used_last_is_kept() -> None:
    card = next(c for c in range(100, 200) if murmur2_partition(str(c).encode(), 2) == 1)
    older, newer = make_words([card], 3), make_words([card], 4)
    older[:, 4], newer[:, 4] = 1000, 2000
    before = [PartitionRecords(9, {"client": newer}), PartitionRecords(8, {"client": older})]
    found = redistribute(before, 2)
    assert (found.total, found.misplaced, found.dropped) == (4, 2, 2)
    assert len(found.partitions[0].spaces["client"]) == 0
    np.testing.assert_array_equal(found.partitions[1].spaces["client"], newer)


def test_partitions_without_records_are_redistributed_too() -> None:
    empty = PartitionRecords(-1, {"client": np.empty((0, WIDTH), np.uint64)})
    found = redistribute([empty, empty], 4)
    assert found.total == 0
    assert [part.clock for part in found.partitions] == [-1] * 4
    assert all(part.spaces["client"].shape == (0, WIDTH) for part in found.partitions)
