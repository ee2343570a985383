"""Labels as columns: the last one of each transaction stands. Pure.

``UNSURE`` means that a person has looked at the transaction and could not decide, so that neither
class is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FRAUD: Final = 1
LEGITIMATE: Final = 0
UNSURE: Final = -1
VALUES: Final = {"FRAUD": FRAUD, "LEGITIMATE": LEGITIMATE, "UNSURE": UNSURE}
ORIGINS: Final = ("ANALYST", "CHARGEBACK", "REVERSAL", "UNKNOWN")
UNKNOWN_ORIGIN: Final = ORIGINS.index("UNKNOWN")


@dataclass(frozen=True, slots=True)
class Labels:
    """The last label of each transaction.

    Attributes:
        ids: ``TransactionID``, int64 ``[n]``, sorted, each once.
        values: ``FRAUD``, ``LEGITIMATE`` or ``UNSURE``, int8 ``[n]``.
        origins: indices into ``ORIGINS``, int8 ``[n]``.
        facts: the source and its digest or offsets, for the metadata.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.int8]
    origins: NDArray[np.int8]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.ids)


def build_labels(
    ids: NDArray[np.int64],
    values: NDArray[np.int8],
    origins: NDArray[np.int8],
    times: NDArray[np.int64],
    facts: dict[str, Any],
) -> Labels:
    """The label with the latest ``times`` of each transaction; of equal ones, the last row."""
    order = np.lexsort((np.arange(len(ids)), times, ids))
    is_last = np.ones(len(ids), np.bool_)
    is_last[:-1] = ids[order][1:] != ids[order][:-1]
    last = order[is_last]
    counts = {name: int((values[last] == value).sum()) for name, value in VALUES.items()}
    found = {**facts, "records": len(ids), "transactions": len(last), **counts}
    return Labels(ids[last], values[last], origins[last], found)
