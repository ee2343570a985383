"""The outcome of one polled batch, and where it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.rejections import Rejection
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES, OVERHEAD_BYTES
from stream_scorer.stream.ports import Outgoing


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where outcomes go, how scores are framed, and how large a record may be by topic."""

    output: str
    dlq: str
    score_head: bytes
    max_bytes: Mapping[str, int]

    def limit(self, topic: str) -> int:
        """Bytes of key, value and headers that fit into one record.

        The topic has a limit and so has our producer, whatever the topic would take.
        """
        allowed = min(self.max_bytes.get(topic, OUTPUT_MAX_BYTES), OUTPUT_MAX_BYTES)
        return allowed - OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one polled batch, in input order: one outgoing record for each."""

    records: Sequence[Outgoing]
    scored: int
    flagged: int
    rejections: Sequence[Rejection]
    decisions: Counter[str]
    model_version: str
    scores: NDArray[np.float64]
