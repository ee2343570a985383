"""The outcome of one polled batch, and the topics it is written to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.rejections import Rejection
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES, record_limit
from stream_scorer.stream.ports import HistoryStep, Outgoing


@dataclass(frozen=True, slots=True)
class Destinations:
    """The topics of outcomes, the framing of scores, and the largest record of each topic.

    ``sample_share`` of the unflagged scores are chosen at random for review.
    """

    output: str
    dlq: str
    score_head: bytes
    max_bytes: Mapping[str, int]
    sample_share: float = 0.0

    def limit(self, topic: str) -> int:
        """Bytes of key, value and headers that fit into one record.

        Both the topic and our producer have a limit; the smaller one counts.
        """
        return record_limit(self.max_bytes.get(topic, OUTPUT_MAX_BYTES))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one polled batch: one outgoing record for each input, in input order.

    ``step`` is what the batch did to the histories of its partitions, if the model has history. It
    is open.
    """

    records: Sequence[Outgoing]
    scored: int
    flagged: int
    rejections: Sequence[Rejection]
    decisions: Counter[str]
    model_version: str
    scores: NDArray[np.float64]
    step: HistoryStep | None = None
    sampled: int = 0
