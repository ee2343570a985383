"""Tables of 2^(-gap / half-life) for whole seconds, the same bits on every machine.

``exp`` of two C libraries differs in the last bit. So the power is a product of four factors:
2^-q x 2^(-65536 a / h) x 2^(-256 b / h) x 2^(-c / h), for a gap of q h + 65536 a + 256 b + c
seconds. The first is exact. Each of the others is computed once with many decimal digits and
rounded to the nearest double. A half-life costs 8 kB and about a millisecond, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

STEP: Final = 256
COARSE: Final = 512
"""Entries of 65,536 seconds each: as many as the longest half-life needs."""
MIDDLE_AT: Final = COARSE
FINE_AT: Final = COARSE + STEP
WIDTH: Final = COARSE + 2 * STEP

_DIGITS: Final = 50


@cache
def _of(half_life: int) -> tuple[float, ...]:
    context = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN)
    two, half = Decimal(2), Decimal(half_life)

    def powers(seconds: int, count: int) -> list[float]:
        factor = context.power(two, context.divide(Decimal(-seconds), half))
        values, value = [], Decimal(1)
        for _ in range(count):
            values.append(float(value))
            value = context.multiply(value, factor)
        return values

    return (*powers(STEP * STEP, COARSE), *powers(STEP, STEP), *powers(1, STEP))


def decay_tables(half_lives: Sequence[int]) -> NDArray[np.float64]:
    """The factors of each half-life, ``[half-lives, WIDTH]``: coarse, middle and fine ones."""
    return np.array([_of(half_life) for half_life in half_lives]).reshape(-1, WIDTH)
