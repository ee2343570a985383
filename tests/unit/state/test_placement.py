"""The partition of a card is the one that Kafka's default partitioner chooses."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.batch import build_batch
from schemas.layout import Layout
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.state.placement import count_misplaced, partitions_of
from tests.support.factories import make_transaction
from tests.support.kafka.murmur2 import murmur2_partition


@pytest.mark.parametrize("count", [1, 3, 12, 1000])
def test_partition_is_that_of_kafkas_murmur2_for_every_length_of_a_number(count: int) -> None:
    rng = np.random.default_rng(5)
    cards = [0, 1, -1, 9, 10, 99, 100, 13926, 2**53, -(2**53)]
    cards += [int(rng.integers(10 ** (d - 1), 10**d)) for d in range(1, 16) for _ in range(20)]
    found = partitions_of(np.array(cards, np.int64), count)
    assert found.tolist() == [murmur2_partition(str(card).encode(), count) for card in cards]


@pytest.mark.parametrize("layout", [None, Layout(["C1", "card1"])])
def test_transactions_in_another_partition_than_their_cards_are_counted(
    layout: Layout | None,
) -> None:
    cards = [13926.0, 1000.0, None, 1.5, 4461.0]
    batch = build_batch([make_transaction(i, card1=card) for i, card in enumerate(cards)])
    values = encode_transactions(batch)
    decoded = TransactionDecoder(LocalSchemas()).decode(values, [None] * len(values), layout)
    assert decoded.batch.layout == layout
    right = [murmur2_partition(str(int(card or 0)).encode(), 12) for card in cards]
    assert count_misplaced(decoded.batch, np.array(right, np.int32), 12) == 0
    moved = np.array([(p + 1) % 12 for p in right], np.int32)
    assert count_misplaced(decoded.batch, moved, 12) == 3  # not those without a whole number
