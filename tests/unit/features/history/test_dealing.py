"""Records are dealt to the partition that producers choose for their card."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.features.history.dealing import card_partitions, deal, select
from stream_scorer.features.history.records import PartitionRecords
from tests.support.kafka.murmur2 import murmur2, murmur2_partition

WIDTH = 10
FIRST, LAST = -(2**63), 2**63 - 1


def make_words(cards: list[int], seed: int = 1) -> NDArray[np.uint64]:
    """Records of cards, two for each, sorted; all other words are arbitrary and not 0."""
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 2**40, (2 * len(cards), WIDTH)).astype(np.uint64)
    words[:, 0] = np.repeat(np.array(sorted(cards), np.int64), 2).view(np.uint64)
    words[:, 1] = np.tile(np.array([5, 2**63 + 5], np.uint64), len(cards))
    return words


def records_of(clock: int, **spaces: NDArray[np.uint64]) -> PartitionRecords:
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


@given(st.lists(st.integers(FIRST, LAST), max_size=20), st.integers(1, 1000))
def test_partition_is_that_of_kafkas_murmur2(cards: list[int], count: int) -> None:
    found = card_partitions(np.array(cards, np.int64), count)
    assert found.tolist() == [murmur2_partition(str(card).encode(), count) for card in cards]


def test_extreme_cards_have_a_partition_too() -> None:
    cards = [0, -1, 9, 10, FIRST, LAST, 13926]
    found = card_partitions(np.array(cards, np.int64), 12)
    assert found.tolist() == [murmur2_partition(str(card).encode(), 12) for card in cards]


def test_each_partition_selects_its_own_records_and_together_all() -> None:
    words = make_words(list(range(1000, 1100)))
    records = records_of(77, client=words, card=words[::2])
    parts = [select(records, partition, 3) for partition in range(3)]
    assert all(part.clock == 77 for part in parts)
    assert all(len(part.spaces["client"]) > 20 for part in parts)
    for partition, part in enumerate(parts):
        for found in part.spaces.values():
            assert set(card_partitions(found[:, 0].view(np.int64), 3)) == {partition}
    back = np.concatenate([part.spaces["client"] for part in parts])
    assert sorted(map(tuple, back.tolist())) == sorted(map(tuple, words.tolist()))


def test_dealing_to_more_partitions_equals_selecting_from_all_records() -> None:
    cards = list(range(-40, 400, 7))
    everything = records_of(500, client=make_words(cards, 1), mail=make_words(cards, 2))
    before = [select(everything, p, 2)._replace(clock=500 - p) for p in range(2)]
    dealt = deal(before, 3)
    assert (dealt.total, dealt.misplaced, dealt.dropped) == (4 * len(cards), 0, 0)
    for partition, found in enumerate(dealt.partitions):
        expected = select(everything, partition, 3)
        assert found.clock == 500
        assert list(found.spaces) == ["client", "mail"]
        for name, words in found.spaces.items():
            np.testing.assert_array_equal(words, expected.spaces[name])


def test_dealt_records_are_in_the_order_of_snapshots() -> None:
    words = make_words([-5, -1, 0, 3, 12345678901])
    (found,) = deal([records_of(1, client=words[::-1])], 1).partitions
    np.testing.assert_array_equal(found.spaces["client"], words)


def test_of_two_records_of_one_key_the_one_used_last_is_kept() -> None:
    card = next(c for c in range(100, 200) if murmur2_partition(str(c).encode(), 2) == 1)
    older, newer = make_words([card], 3), make_words([card], 4)
    older[:, 4], newer[:, 4] = 1000, 2000
    dealt = deal([records_of(9, client=newer), records_of(8, client=older)], 2)
    assert (dealt.total, dealt.misplaced, dealt.dropped) == (4, 2, 2)
    assert len(dealt.partitions[0].spaces["client"]) == 0
    np.testing.assert_array_equal(dealt.partitions[1].spaces["client"], newer)


def test_partitions_without_records_are_dealt_too() -> None:
    empty = records_of(-1, client=np.empty((0, WIDTH), np.uint64))
    dealt = deal([empty, empty], 4)
    assert dealt.total == 0
    assert [part.clock for part in dealt.partitions] == [-1] * 4
    assert all(part.spaces["client"].shape == (0, WIDTH) for part in dealt.partitions)
