"""The state of a partition's card history as plain arrays: what a snapshot holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PartitionRecords(NamedTuple):
    """The records of all key spaces of one partition, in an order that the state alone determines.

    Attributes:
        clock: the partition's clock in seconds of ``TransactionDT``; -1 before the first row.
        spaces: by key space, uint64 ``[records, words]``, sorted by ``card1`` (as int64) and by the
            hash of the rest of the key (as uint64). The layout of a record is that of
            :mod:`stream_scorer.features.history.layout`.
    """

    clock: int
    spaces: dict[str, NDArray[np.uint64]]
