"""The outcome of one polled batch, and the topics it is written to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.rejections import Rejection
from stream_scorer.drift.features import FeatureSample
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES, record_limit
from stream_scorer.model.bundle import Bundle
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


class ScoredPart(NamedTuple):
    """Transactions that were scored together.

    Attributes:
        where: the rows of the poll, int64 ``[n]``.
        batch: their columns.
        scores: float64 ``[n]``.
        decisions: uint8 ``[n]``.
    """

    where: NDArray[np.int64]
    batch: TransactionBatch
    scores: NDArray[np.float64]
    decisions: NDArray[np.uint8]


class Basis(NamedTuple):
    """What a batch was scored with and by, kept for another model to score the same."""

    bundle: Bundle
    parts: Sequence[ScoredPart]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one polled batch: one outgoing record for each input, in input order.

    ``step`` is what the batch did to the histories of its partitions, if the model has history. It
    is open. ``basis`` is there if somebody wants it. ``sample`` has feature values of some scored
    rows, to measure their drift.
    """

    records: Sequence[Outgoing]
    scored: int
    flagged: int
    rejections: Sequence[Rejection]
    decisions: Counter[str]
    model_version: str
    scores: NDArray[np.float64]
    step: HistoryStep | None = None
    basis: Basis | None = None
    sampled: int = 0
    sample: FeatureSample | None = None
