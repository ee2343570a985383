"""The front of average precision against the time of scoring."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.tuning.study import Trial


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other one beats in precision without being slower, the fastest first."""
    found: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (_cost(t), -t.outcome.average_precision, t.number)):
        if not found or trial.outcome.average_precision > found[-1].outcome.average_precision:
            found.append(trial)
    return found


def fastest_within(trials: Sequence[Trial], loss: float) -> Trial:
    """The fastest trial whose average precision is at most ``loss`` below the best one's."""
    best = max(trial.outcome.average_precision for trial in trials)
    good = [trial for trial in trials if trial.outcome.average_precision >= best - loss]
    return min(good, key=lambda t: (_cost(t), -t.outcome.average_precision, t.number))


def _cost(trial: Trial) -> float:
    cost = trial.outcome.microseconds
    return float("inf") if cost is None else cost
