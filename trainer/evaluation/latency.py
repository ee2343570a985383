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
class Contender:
    """A model whose speed is measured.

    Attributes:
        bundle: the model.
        batch: rows with the card history that it needs.
        history_us: microseconds a row that a scorer takes to compute that history.
    """

    bundle: Bundle
    batch: TransactionBatch
    history_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds to score one row, on one machine, on the same ``rows`` rows in one batch.

    Card history is apart: its time depends on the features that are remembered, and not on the
    model.
    """

    rows: int
    candidate_us: float
    champion_us: float | None
    candidate_history_us: float = 0.0
    champion_history_us: float = 0.0

    @property
    def slowdown(self) -> float | None:
        """The candidate's time divided by the champion's; None without a champion."""
        return None if self.champion_us is None else self.candidate_us / self.champion_us

    def facts(self) -> dict[str, Any]:
        """The figures as plain data, for the metadata."""
        facts = {
            "rows": self.rows,
            "candidate_us_per_row": round(self.candidate_us, 3),
            "champion_us_per_row": None if self.champion_us is None else round(self.champion_us, 3),
            "slowdown": None if self.slowdown is None else round(self.slowdown, 3),
        }
        if self.candidate_history_us or self.champion_history_us:
            facts["candidate_history_us_per_row"] = round(self.candidate_history_us, 3)
            facts["champion_history_us_per_row"] = round(self.champion_history_us, 3)
        return facts


def measure_latency(
    candidate: Contender,
    champion: Contender | None,
    clock: Callable[[], float] = time.thread_time,
) -> Latency:
    """Score the first rows with both models in turn, without reasons.

    The models take turns, so that a change of the machine's speed meets both. One round before the
    measured ones loads what is loaded on first use. Scoring uses one thread, so the clock is this
    thread's processor time, which does not run while other processes have the processor.
    """
    contenders = [candidate, champion] if champion else [candidate]
    measured = [
        (one.batch.take(slice(0, ROWS)), replace(one.bundle, thresholds=NOTHING_FLAGGED))
        for one in contenders
    ]
    fastest = [float("inf")] * len(measured)
    for number in range(ROUNDS + 1):
        for i, (rows, bundle) in enumerate(measured):
            started = clock()
            score(rows, bundle)
            if number:
                fastest[i] = min(fastest[i], clock() - started)
    n = len(measured[0][0])
    each = [1e6 * seconds / max(n, 1) for seconds in fastest]
    if champion is None:
        return Latency(n, each[0], None, candidate.history_us)
    return Latency(n, each[0], each[1], candidate.history_us, champion.history_us)
