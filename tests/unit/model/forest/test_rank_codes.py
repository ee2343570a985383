"""A code is the number of a slot's thresholds below the value, however they are looked up."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.model.forest.kernel import rank_codes
from stream_scorer.model.forest.lanes import COUNT_LANES, MANY_ROWS, MOST_COUNTED
from stream_scorer.model.forest.layout import FEW_ROWS, MISSING_NAN, pad_thresholds

COUNTS = sorted({1, 2, MOST_COUNTED - 1, MOST_COUNTED, MOST_COUNTED + 1, 254,
                 *(4 * COUNT_LANES + k for k in (-1, 0, 1))})  # fmt: skip
LARGEST = np.finfo(np.float64).max


def codes_of(
    values: NDArray[np.float64], slots: list[NDArray[np.float64]], *, width: int, is_left: bool
) -> NDArray[np.uint8]:
    """The codes of one value a row in several slots of one feature."""
    start = np.cumsum([0, *map(len, slots)])
    thresholds, padded_start = pad_thresholds(np.concatenate(slots), start)
    codes = np.full((len(slots), width), 99, np.uint8)
    rank_codes(
        values[:, np.newaxis].copy(),
        thresholds,
        padded_start.astype(np.int32),
        np.zeros(len(slots), np.int32),
        np.full(len(slots), MISSING_NAN, np.int8),
        np.full(len(slots), is_left),
        codes,
    )
    return codes[:, : len(values)]


@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("width", [FEW_ROWS, MANY_ROWS])
def test_codes_count_the_thresholds_below(width: int, is_left: bool) -> None:
    random = np.random.default_rng(4)
    slots = [np.unique(random.normal(size=n)) for n in COUNTS]
    slots[-1][[0, -1]] = -LARGEST, LARGEST
    infinite = np.append(np.sort(random.normal(size=5 * COUNT_LANES - 1)), np.inf)
    slots.append(infinite)
    on_them = np.concatenate([[s[0], s[-1], s[len(s) // 2]] for s in slots])
    with np.errstate(over="ignore"):
        near = np.concatenate([np.nextafter(on_them, -np.inf), np.nextafter(on_them, np.inf)])
    special = [np.nan, np.inf, -np.inf, LARGEST, -LARGEST]
    values = np.concatenate([special, on_them, near, random.normal(size=200)])
    for first in range(0, len(values), width):
        some = values[first : first + width]
        wanted = [np.searchsorted(slot, some) for slot in slots]
        for row in np.flatnonzero(np.isnan(some)):
            for codes in wanted:
                codes[row] = 0 if is_left else 255
        np.testing.assert_array_equal(
            codes_of(some, slots, width=width, is_left=is_left), np.array(wanted)
        )


def test_only_slots_with_many_thresholds_are_padded_and_end_with_an_infinity() -> None:
    slots = [np.arange(float(n)) for n in COUNTS]
    start = np.cumsum([0, *COUNTS])
    thresholds, padded_start = pad_thresholds(np.concatenate(slots), start)
    for slot, first, last in zip(slots, padded_start, padded_start[1:], strict=False):
        found = thresholds[first:last]
        assert found[: len(slot)].tolist() == slot.tolist()
        if len(slot) <= MOST_COUNTED:
            assert len(found) == len(slot)
        else:
            assert len(found) % COUNT_LANES == 0
            assert 0 < len(found) - len(slot) <= COUNT_LANES
            assert (found[len(slot) :] == np.inf).all()
