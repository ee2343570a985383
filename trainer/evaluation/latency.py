"""How long the scorer's own function takes with a new model, beside the champion's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from schemas.batch import TransactionBatch
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import score
from trainer.evaluation.evaluate import NOTHING_FLAGGED

ROWS: Final = 2048
"""About the batch of a busy scorer; small batches would measure the overhead of a call."""

ROUNDS: Final = 40
"""The fastest round counts: other processes can only make a round slower. Each takes milliseconds.
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds to score one row, on one machine, on the same ``rows`` rows in one batch."""

    rows: int
    candidate_us: float
    champion_us: float | None

    @property
    def slowdown(self) -> float | None:
        """The candidate's time divided by the champion's; None without a champion."""
        return None if self.champion_us is None else self.candidate_us / self.champion_us

    def facts(self) -> dict[str, Any]:
        """The figures as plain data, for the metadata."""
        return {
            "rows": self.rows,
            "candidate_us_per_row": round(self.candidate_us, 3),
            "champion_us_per_row": None if self.champion_us is None else round(self.champion_us, 3),
            "slowdown": None if self.slowdown is None else round(self.slowdown, 3),
        }


def measure_latency(
    batch: TransactionBatch,
    candidate: Bundle,
    champion: Bundle | None,
    clock: Callable[[], float] = time.thread_time,
) -> Latency:
    """Score the first rows of ``batch`` with both models in turn, without reasons.

    The models take turns, so that a change of the machine's speed meets both. One round before the
    measured ones loads what is loaded on first use. Scoring uses one thread, so the clock is this
    thread's processor time, which does not run while other processes have the processor.
    """
    rows = batch.take(slice(0, ROWS))
    bundles = [replace(b, thresholds=NOTHING_FLAGGED) for b in (candidate, champion) if b]
    fastest = [float("inf")] * len(bundles)
    for number in range(ROUNDS + 1):
        for i, bundle in enumerate(bundles):
            started = clock()
            score(rows, bundle)
            if number:
                fastest[i] = min(fastest[i], clock() - started)
    each = [1e6 * seconds / max(len(rows), 1) for seconds in fastest]
    return Latency(len(rows), each[0], each[1] if champion else None)
