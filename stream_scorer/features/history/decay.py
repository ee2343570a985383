"""Tables of 2^(-gap / half-life) for whole seconds, the same bits on every machine.

``exp`` of two C libraries differs in the last bit. So the power is a product of three entries:
2^-q x 2^(-256 i / h) x 2^(-j / h) for a gap of q h + 256 i + j seconds. Each entry is computed once
with 40 decimal digits and rounded to the nearest double.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_DIGITS: Final = 40
STEP: Final = 256
MAX_HALVINGS: Final = 1074  # 2^-1074 is the smallest positive double


@cache
def _of(half_life: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with localcontext() as context:
        context.prec = _DIGITS
        two, half = Decimal(2), Decimal(half_life)
        coarse = [float(two ** (Decimal(-STEP * i) / half)) for i in range(half_life // STEP + 1)]
        fine = [float(two ** (Decimal(-j) / half)) for j in range(STEP)]
    return np.array(coarse), np.array(fine)


def decay_tables(half_lives: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The coarse table ``[half-lives, longest]`` and the fine one ``[half-lives, 256]``."""
    tables = [_of(half_life) for half_life in half_lives]
    coarse = np.zeros((len(tables), max((len(c) for c, _ in tables), default=1)))
    fine = np.zeros((len(tables), STEP))
    for row, (of_row, of_fine) in enumerate(tables):
        coarse[row, : len(of_row)] = of_row
        fine[row] = of_fine
    return coarse, fine


HALVINGS: Final = np.array([2.0**-q for q in range(MAX_HALVINGS + 1)] + [0.0])
"""2^-q; the last entry, for everything that is longer ago, is 0."""
