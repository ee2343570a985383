"""The search: trial after trial, until there are enough, time is up or someone interrupts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainer.fitting.fitted import Advance
from trainer.fitting.plan import ModelPlan
from trainer.tuning.objective import AfterFirst, Outcome
from trainer.tuning.study import OpenTrial, Study, Trial

Judge = Callable[[ModelPlan, AfterFirst, Advance], Outcome]
"""Trains a plan and judges it: :func:`trainer.tuning.objective.evaluate` on some windows."""


@dataclass(frozen=True, slots=True)
class Step:
    """A finished trial of this search.

    Attributes:
        done: trials finished in this search, this one included.
        trial: None if it was ended after its first window.
        seconds: how long it took.
    """

    done: int
    trial: Trial | None
    seconds: float


class _PrunedError(Exception):
    """The first window was reason enough to end the trial."""


class _OutOfTimeError(Exception):
    """The time of the search is up."""


@dataclass(slots=True)
class Search:
    """Runs trials.

    Attributes:
        study: what to try, and what was found.
        judge: what a plan is worth.
        noise: the standard error of the first window's average precision; a difference of this
            size ends no trial on the front.
        deadline_seconds: of ``clock``: when to stop. A trial that is running then is dropped,
            unless there is no finished one yet.
        clock: seconds, monotonic.
    """

    study: Study
    judge: Judge
    noise: float = 0.0
    deadline_seconds: float | None = None
    clock: Callable[[], float] = time.monotonic
    best: Trial | None = None

    def run(self, trials: int, advance: Callable[[], None] = lambda: None) -> Iterator[Step]:
        """Run this many trials; yields each one when it is finished.

        ``advance`` is called after each tree. An interrupted trial is forgotten, and the others
        are kept.
        """
        for trial in self.study.trials:
            self._keep_best(trial)
        for done in range(1, trials + 1):
            if self._is_late():
                return
            started = self.clock()
            open_trial = self.study.ask()
            found: Trial | None = None
            try:
                found = self._run_one(open_trial, advance)
            except _PrunedError:
                self.study.prune(open_trial)
            except _OutOfTimeError:
                self.study.discard(open_trial)
                return
            except BaseException:
                self.study.discard(open_trial)
                raise
            if found is not None:
                self._keep_best(found)
            yield Step(done, found, self.clock() - started)

    def _run_one(self, trial: OpenTrial, advance: Callable[[], None]) -> Trial:
        def after_first(first_fold: float, cost: float | None) -> None:
            if self.study.is_unpromising(trial, first_fold, cost, self.noise):
                raise _PrunedError

        def tree_built(_: int) -> None:
            advance()
            if self._is_late():
                raise _OutOfTimeError

        return self.study.finish(trial, self.judge(trial.plan, after_first, tree_built))

    def _is_late(self) -> bool:
        if self.best is None or self.deadline_seconds is None:
            return False
        return self.clock() >= self.deadline_seconds

    def _keep_best(self, trial: Trial) -> None:
        if self.best is None or (
            trial.outcome.average_precision > self.best.outcome.average_precision
        ):
            self.best = trial
