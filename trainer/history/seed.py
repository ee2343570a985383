"""The seed of a version: all card histories at the end of the training rows, for the first scorers.

With it the stream begins with the histories that the model knows, instead of with none. It holds
card numbers as the data has them, times and amounts: personal data, as the transactions themselves.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import StoreError, UsageError
from stream_scorer.features.history.codec import encode_seed
from stream_scorer.features.history.header import TIMES_END, SeedHeader
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.bundled_history import SeedFacts

log = logging.getLogger(__name__)

LONG_GAP_DAYS: Final = 45
"""A longer time without any transaction, before the last ones, is more likely a wrong time."""

_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed as it is stored, and what the metadata says about it."""

    content: bytes
    facts: SeedFacts


def make_seed(history: PartitionHistory, times: NDArray[np.int64]) -> Seed | None:
    """The seed of a history after its last row; None if no row has a time that histories take.

    Args:
        history: without an open step.
        times: of all its rows, ascending.

    Raises:
        UsageError: it is larger than scorers accept.
    """
    taken = times[(times >= 0) & (times <= TIMES_END)]
    if not len(taken):
        return None
    as_of = int(taken[-1])
    _warn_of_gap(taken)
    header = SeedHeader(history.spec.fingerprint, as_of)
    try:
        content = encode_seed(header, history.records())
    except StoreError as error:
        raise UsageError(
            f"{error}. With --no-history-seed the version is published without one"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    keys = dict(history.sizes().keys)
    return Seed(content, SeedFacts(digest, len(content), as_of, keys))


def _warn_of_gap(times: NDArray[np.int64]) -> None:
    """Scorers do not add transactions up to ``as_of`` to a history, so one wrong time stops all."""
    earlier = times[times < times[-1]]
    days = 0.0 if not len(earlier) else float(times[-1] - earlier[-1]) / _DAY
    if days > LONG_GAP_DAYS:
        log.warning(
            "the last transaction (TransactionDT %d) is %.0f days later than the one before it. "
            "Scorers that begin with this seed do not add transactions before that time to card "
            "histories: if the time is wrong, remove the row, or use --no-history-seed",
            times[-1], days,
        )  # fmt: skip
