"""The random lane: a choice that depends on the source coordinates alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.scores.sampling import MAX_SHARE, choose, draws, parse_share, places

ROWS = 200_000
OFFSETS = np.arange(ROWS, dtype=np.int64)
FIXED = [0.8179242294391694, 0.7900331301633904, 0.729338929937221]


def partition(number: int) -> NDArray[np.int32]:
    return np.full(ROWS, number, np.int32)


def test_choice_never_changes() -> None:
    """Other values would sample other rows in a replay than in the stream: these are fixed."""
    found = draws("transactions", np.array([0, 0, 11], np.int32), np.array([0, 1, 2**40]))
    assert found.tolist() == FIXED
    assert draws("transactions", np.array([0, 0, 11]), np.array([0, 1, 2**40])).tolist() == FIXED


@pytest.mark.parametrize("share", [0.001, MAX_SHARE])
@pytest.mark.parametrize("number", [0, 1, 11])
def test_share_of_the_rows_is_chosen_in_each_partition(share: float, number: int) -> None:
    chosen = choose("transactions", partition(number), OFFSETS, share)
    spread = np.sqrt(share * (1 - share) / ROWS)
    assert abs(chosen.mean() - share) < 4 * spread
    by_part = chosen.reshape(20, -1).sum(axis=1)  # evenly over time, too
    expected = share * ROWS / 20
    assert ((by_part - expected) ** 2 / expected).sum() < 50  # chi-square with 20 degrees


def test_partitions_and_topics_choose_independently() -> None:
    first = choose("transactions", partition(0), OFFSETS, MAX_SHARE)
    for topic, number in (("transactions", 1), ("other", 0)):
        both = first & choose(topic, partition(number), OFFSETS, MAX_SHARE)
        assert both.mean() < 3 * MAX_SHARE**2


def test_row_is_chosen_the_same_in_every_batch_and_at_every_larger_share() -> None:
    rows = np.arange(5_000, dtype=np.int64)
    mixed = (rows % 3).astype(np.int32)
    together = choose("t", mixed, rows, 0.005)
    alone = [bool(choose("t", mixed[i : i + 1], rows[i : i + 1], 0.005)[0]) for i in range(500)]
    assert together[:500].tolist() == alone
    assert not (together & ~choose("t", mixed, rows, MAX_SHARE)).any()
    assert not choose("t", mixed, rows, 0.0).any()


def test_places_of_samples_are_spread_evenly_though_their_draws_are_small() -> None:
    chosen = choose("transactions", partition(0), OFFSETS, MAX_SHARE)
    found = places("transactions", partition(0)[chosen], OFFSETS[chosen])
    counts = np.histogram(found, 10, (0, 1))[0]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 30


@pytest.mark.parametrize("value", [None, b"", b"nan", b"0", b"-1", b"0.02", b"inf", b"\xff", b"x"])
def test_header_without_a_possible_share_is_none(value: bytes | None) -> None:
    assert parse_share(value) is None


def test_header_states_the_share() -> None:
    assert parse_share(b"0.005") == 0.005
