"""Compiled loops check no bounds, unless ``make boundscheck`` runs their tests with checks on."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled


@compiled
def read(values: NDArray[Any], place: int) -> Any:
    return values[place]


def test_bounds_are_checked_when_requested() -> None:
    """Without this test, a run with disabled checks would look like a clean run."""
    values = np.zeros(4)[:3]  # the cell after the end exists, so reading it is harmless
    try:
        read(values, 3)
    except IndexError:
        is_checked = True
    else:
        is_checked = False
    assert is_checked == (os.environ.get("NUMBA_BOUNDSCHECK") == "1")
