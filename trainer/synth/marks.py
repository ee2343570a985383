"""The range of ``TransactionID`` that marks a transaction as synthetic.

Every generated transaction has its id from a range that the IEEE-CIS data does not use (its ids
have seven digits). The id goes with the row through CSV, gzip, Parquet and topics, through joins,
sorting and sampling. So synthetic rows can be recognized wherever they come from, and their labels
never collide with those of real ones.

The mark is lost only if the transactions are renumbered. Other data is mistaken for synthetic only
if its ids lie in this range. The ids are below 2**53, so readers that keep numbers as doubles keep
them exactly; as a clock in milliseconds, which also has 13 digits, they would be in the year 2203.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FIRST_ID: Final = 7_362_904_000_000
IDS: Final = 1_000_000_000


def count_synthetic(ids: NDArray[np.int64]) -> int:
    """The number of transactions whose id is the generator's."""
    return int(np.count_nonzero((ids >= FIRST_ID) & (ids < FIRST_ID + IDS)))
