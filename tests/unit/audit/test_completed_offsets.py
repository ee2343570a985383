"""Completed offsets: bitmaps that are compressed while they are not in use."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from stream_scorer.audit.completed_offsets import BLOCK_OFFSETS, CompletedOffsets


def bits(size: int, *set_at: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = np.zeros(size, np.bool_)
    found[list(set_at)] = True
    return found


def offsets(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


@pytest.mark.parametrize("base", [0, 5, BLOCK_OFFSETS - 2, 10 * BLOCK_OFFSETS - 1])
def test_what_was_added_is_found_across_blocks(base: int) -> None:
    completed = CompletedOffsets()
    completed.add(base, bits(4, 0, 1, 3), bits(4, 1, 3))
    completed.add(base + 4, bits(2, 0, 1), bits(2, 0))
    present, unanswered = completed.lookup(offsets(*range(base - 1, base + 7)))
    assert present.tolist() == [False, True, True, False, True, True, True, False]
    assert unanswered.tolist() == [False, False, True, False, True, True, False, False]
    assert list(completed.unanswered(0, base + 100)) == [base + 1, base + 3, base + 4]
    assert completed.count_unanswered(0, base + 100) == 3
    assert completed.count_unanswered(base + 2, base + 4) == 1


def test_answered_offsets_are_no_longer_missing_but_still_present() -> None:
    completed = CompletedOffsets()
    completed.add(0, bits(10, *range(10)), bits(10, 2, 5))
    completed.mark_answered(offsets(5, 7))
    assert list(completed.unanswered(0, 10)) == [2]
    present, _ = completed.lookup(offsets(5, 7))
    assert present.all()


def test_random_bits_survive_saving_and_loading() -> None:
    rng = np.random.default_rng(random.Random(3).randrange(100))
    size = 3 * BLOCK_OFFSETS
    present = rng.random(size) < 0.9
    missing = present & (rng.random(size) < 0.001)
    completed = CompletedOffsets()
    completed.add(1234, present, missing)
    restored = CompletedOffsets.from_state(json.loads(json.dumps(completed.as_state())))
    everything = np.arange(size) + 1234
    assert (restored.lookup(everything)[0] == present).all()
    assert (restored.lookup(everything)[1] == missing).all()
    assert restored.count_unanswered(0, 2 * size) == np.count_nonzero(missing)


def test_ten_million_offsets_with_regular_gaps_take_little_memory() -> None:
    completed = CompletedOffsets()
    none = np.zeros(BLOCK_OFFSETS, np.bool_)
    for block in range(153):
        at = np.arange(block * BLOCK_OFFSETS, (block + 1) * BLOCK_OFFSETS)
        completed.add(block * BLOCK_OFFSETS, at % 500 != 499, none)
    assert len(json.dumps(completed.as_state())) < 150_000


def test_blocks_that_retention_removed_are_forgotten() -> None:
    completed = CompletedOffsets()
    completed.add(0, bits(BLOCK_OFFSETS + 5, 1, BLOCK_OFFSETS), bits(BLOCK_OFFSETS + 5, 1))
    completed.forget_before(BLOCK_OFFSETS + 2)
    assert completed.lookup(offsets(1, BLOCK_OFFSETS))[0].tolist() == [False, True]
    assert completed.count_unanswered(0, 10**9) == 0
