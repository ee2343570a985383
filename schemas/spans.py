"""Where records lie in their concatenated bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Spans(NamedTuple):
    """Where records lie in their concatenated bytes, int64 ``[n]`` each."""

    begin: NDArray[np.int64]
    size: NDArray[np.int64]
