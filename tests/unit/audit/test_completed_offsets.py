"""Settled offsets: bitmaps that are compressed when nobody looks."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from stream_scorer.audit.settled import BLOCK_OFFSETS, Settled


def bits(size: int, *set_at: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = np.zeros(size, np.bool_)
    found[list(set_at)] = True
    return found


def offsets(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


@pytest.mark.parametrize("base", [0, 5, BLOCK_OFFSETS - 2, 10 * BLOCK_OFFSETS - 1])
def test_what_was_added_is_found_across_blocks(base: int) -> None:
    settled = Settled()
    settled.add(base, bits(4, 0, 1, 3), bits(4, 1, 3))
    settled.add(base + 4, bits(2, 0, 1), bits(2, 0))
    present, unanswered = settled.look(offsets(*range(base - 1, base + 7)))
    assert present.tolist() == [False, True, True, False, True, True, True, False]
    assert unanswered.tolist() == [False, False, True, False, True, True, False, False]
    assert list(settled.unanswered(0, base + 100)) == [base + 1, base + 3, base + 4]
    assert settled.count_unanswered(0, base + 100) == 3
    assert settled.count_unanswered(base + 2, base + 4) == 1


def test_answered_offsets_are_no_longer_missing_and_still_there() -> None:
    settled = Settled()
    settled.add(0, bits(10, *range(10)), bits(10, 2, 5))
    settled.answer(offsets(5, 7))
    assert list(settled.unanswered(0, 10)) == [2]
    present, _ = settled.look(offsets(5, 7))
    assert present.all()


def test_random_bits_survive_the_state() -> None:
    rng = np.random.default_rng(random.Random(3).randrange(100))
    size = 3 * BLOCK_OFFSETS
    present = rng.random(size) < 0.9
    missing = present & (rng.random(size) < 0.001)
    settled = Settled()
    settled.add(1234, present, missing)
    again = Settled.from_state(json.loads(json.dumps(settled.as_state())))
    everything = np.arange(size) + 1234
    assert (again.look(everything)[0] == present).all()
    assert (again.look(everything)[1] == missing).all()
    assert again.count_unanswered(0, 2 * size) == np.count_nonzero(missing)


def test_ten_million_offsets_with_regular_gaps_take_little_room() -> None:
    settled = Settled()
    none = np.zeros(BLOCK_OFFSETS, np.bool_)
    for block in range(153):
        at = np.arange(block * BLOCK_OFFSETS, (block + 1) * BLOCK_OFFSETS)
        settled.add(block * BLOCK_OFFSETS, at % 500 != 499, none)
    assert len(json.dumps(settled.as_state())) < 150_000


def test_blocks_that_retention_removed_are_forgotten() -> None:
    settled = Settled()
    settled.add(0, bits(BLOCK_OFFSETS + 5, 1, BLOCK_OFFSETS), bits(BLOCK_OFFSETS + 5, 1))
    settled.forget_before(BLOCK_OFFSETS + 2)
    assert settled.look(offsets(1, BLOCK_OFFSETS))[0].tolist() == [False, True]
    assert settled.count_unanswered(0, 10**9) == 0
