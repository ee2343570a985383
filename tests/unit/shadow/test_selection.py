"""The choice of transactions, and the live figures of two versions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream_scorer.shadow.figures import BINS, EDGES, bin_counts, count, no_figures
from stream_scorer.shadow.selection import choose

TOPIC = "transactions"
PARTITIONS = np.repeat(np.arange(12, dtype=np.int32), 5000)
OFFSETS = np.tile(np.arange(5000, dtype=np.int64) + 10**9, 12)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_share_of_the_rows_is_chosen_in_each_partition(share: float) -> None:
    chosen = choose(TOPIC, PARTITIONS, OFFSETS, share).reshape(12, 5000)
    tolerance = 5 * math.sqrt(share * (1 - share) / 5000)
    assert np.abs(chosen.mean(axis=1) - share).max() < tolerance
    assert len({row.tobytes() for row in chosen}) == 12  # partitions are independent


def test_choice_depends_on_the_coordinates_alone_and_grows_with_the_share() -> None:
    order = np.random.default_rng(1).permutation(len(OFFSETS))
    small, large = choose(TOPIC, PARTITIONS, OFFSETS, 0.1), choose(TOPIC, PARTITIONS, OFFSETS, 0.2)
    assert (choose(TOPIC, PARTITIONS[order], OFFSETS[order], 0.1) == small[order]).all()
    assert not (small & ~large).any()
    assert choose(TOPIC, PARTITIONS, OFFSETS, 1.0).all()
    assert not choose(TOPIC, PARTITIONS, OFFSETS, 0.0).any()
    # A replay of years from now, or another release, has to choose the same ones.
    assert np.flatnonzero(small[:200]).tolist()[:5] == FIRST


FIRST = [19, 23, 37, 51, 83]


def test_figures_count_moves_and_both_distributions() -> None:
    scores, others = np.array([0.0005, 0.05, 0.9]), np.array([0.05, 0.05, 0.7])
    found = count(scores, np.array([0, 0, 2], np.uint8), others, np.array([1, 0, 2], np.uint8))
    assert found.moves.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert found.rows == 3
    assert found.agreement == pytest.approx(2 / 3)
    both = found + found
    assert (both.rows, both.agreement) == (6, found.agreement)
    assert both.champion.tolist() == (2 * bin_counts(scores)).tolist()


def test_bound_of_a_bin_belongs_to_the_bin_above() -> None:
    assert bin_counts(np.array(EDGES)).tolist() == [0, *[1] * (BINS - 1)]


def test_stability_index_is_zero_for_equal_scores_and_unknown_without_any() -> None:
    scores, decisions = np.linspace(0, 1, 500), np.zeros(500, np.uint8)
    assert count(scores, decisions, scores, decisions).stability_index == 0
    assert count(scores, decisions, scores**2, decisions).stability_index > 0.1
    assert math.isnan(no_figures().stability_index)
    assert math.isnan(no_figures().agreement)
