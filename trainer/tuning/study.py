"""Optuna, and the file that keeps a study; the trainer's only module that uses it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.errors import FatalError, UsageError
from trainer.fitting.plan import ModelPlan
from trainer.tuning.objective import Outcome
from trainer.tuning.space import own_parameters, suggest_plan

_RANDOM_TRIALS: Final = 8  # before the sampler has anything to learn from
_UNPRUNED_TRIALS: Final = 4
_FACTS: Final = "facts"  # the keys of what we keep in the study and in each trial
_OUTCOME: Final = "outcome"
_PLAN: Final = "plan"
_REFERENCE: Final = "reference_microseconds"
_STUDY: Final = "fraud-trainer"


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that ran to its end: its number from 0, its plan and its figures."""

    number: int
    plan: ModelPlan
    outcome: Outcome


class Study:
    """The trials so far, and what to try next. One of Optuna's studies.

    The default plan is the first trial. The next parameters depend on the seed and on the finished
    trials alone, so that a study that is interrupted and goes on tries what it would have tried.
    """

    def __init__(
        self, storage: Path | None, facts: Mapping[str, Any], plan: ModelPlan, *, frontier: bool
    ) -> None:
        """Open or create a study.

        ``facts`` are what trials depend on (rows, split, learner, seed). With ``frontier``, there
        are two objectives: average precision and the time of scoring.

        Raises:
            FatalError: Optuna is not installed.
            UsageError: the file cannot be used, or has a study of other facts.
        """
        self._optuna = _load()
        self._plan = plan
        self._frontier = frontier
        self._file = storage
        with self._storage_errors():
            self._study = self._optuna.create_study(
                storage=self._open(storage),
                study_name=_STUDY,
                directions=["maximize", "minimize"] if frontier else ["maximize"],
                pruner=self._optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS),
                load_if_exists=True,
            )
            self._check({**facts, "frontier": frontier, "trees": plan.trees})
            self._forget_running()

    @property
    def reference_microseconds(self) -> float | None:
        """The reference forest's time in the study's first run, if it was measured."""
        value: float | None = self._study.user_attrs.get(_REFERENCE)
        return value

    @reference_microseconds.setter
    def reference_microseconds(self, value: float) -> None:
        with self._storage_errors():
            self._study.set_user_attr(_REFERENCE, value)

    @property
    def trials(self) -> list[Trial]:
        """All trials that ran to their end, in their order."""
        complete = self._optuna.trial.TrialState.COMPLETE
        with self._storage_errors():
            return [
                _read(trial, self._plan)
                for trial in self._study.get_trials(deepcopy=False, states=(complete,))
            ]

    @property
    def default(self) -> Trial | None:
        """The trial of the default plan: the first one that ran to its end."""
        return next(iter(self.trials), None)

    @property
    def finished(self) -> int:
        """The number of trials that ran to their end or were pruned."""
        states = self._optuna.trial.TrialState
        with self._storage_errors():
            return len(
                self._study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
            )

    def ask(self) -> OpenTrial:
        """The next trial."""
        with self._storage_errors():
            if self.finished == 0 and not self._waiting():
                self._study.enqueue_trial(own_parameters(self._plan, with_trees=self._frontier))
            self._study.sampler = self._sampler(self.finished)
            trial = self._study.ask()
            plan = suggest_plan(trial, self._plan, with_trees=self._frontier)
            return OpenTrial(trial, plan)

    def is_unpromising(
        self, trial: OpenTrial, first_fold: float, cost: float | None, noise: float = 0.0
    ) -> bool:
        """Whether a trial's first window is reason enough to end it.

        With one objective: below the median of the others. With two: another one is better by more
        than ``noise`` and as fast. The default plan always runs to its end.
        """
        is_default = self.finished == 0
        if not self._frontier:
            with self._storage_errors():
                trial.handle.report(first_fold, 0)
                return bool(trial.handle.should_prune()) and not is_default
        return any(
            other.outcome.first_fold > first_fold + noise
            and other.outcome.microseconds is not None
            and cost is not None
            and other.outcome.microseconds <= cost
            for other in self.trials
        )

    def finish(self, trial: OpenTrial, outcome: Outcome) -> Trial:
        """Keep a trial's figures."""
        with self._storage_errors():
            trial.handle.set_user_attr(_OUTCOME, asdict(outcome))
            trial.handle.set_user_attr(_PLAN, asdict(trial.plan))
            values = [outcome.average_precision]
            if self._frontier:
                values.append(float(outcome.microseconds or 0.0))
            self._study.tell(trial.handle, values)
        return Trial(trial.handle.number, trial.plan, outcome)

    def prune(self, trial: OpenTrial) -> None:
        """Keep that a trial was ended after its first window."""
        with self._storage_errors():
            self._study.tell(trial.handle, state=self._optuna.trial.TrialState.PRUNED)

    def discard(self, trial: OpenTrial) -> None:
        """Forget a trial that was interrupted: it is tried again."""
        with self._storage_errors():
            self._study.tell(trial.handle, state=self._optuna.trial.TrialState.FAIL)

    def _waiting(self) -> bool:
        states = (self._optuna.trial.TrialState.WAITING,)
        return bool(self._study.get_trials(deepcopy=False, states=states))

    def _sampler(self, finished: int) -> Any:
        seed = int(np.random.SeedSequence([self._plan.seed, finished]).generate_state(1)[0])
        with warnings.catch_warnings():
            # Before version 5, Optuna warns that multivariate sampling is experimental.
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return self._optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=_RANDOM_TRIALS, multivariate=True
            )

    def _open(self, storage: Path | None) -> Any:
        if storage is None:
            return None
        from sqlalchemy.engine import URL

        url = URL.create("sqlite", database=str(storage.absolute()))
        return self._optuna.storages.RDBStorage(url.render_as_string(hide_password=False))

    def _check(self, facts: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(facts))
        known = self._study.user_attrs.get(_FACTS)
        if known is None and not self._study.trials:
            self._study.set_user_attr(_FACTS, wanted)
            return
        known = known if isinstance(known, dict) else {}
        differ = [name for name in wanted if known.get(name) != wanted[name]]
        if differ:
            name = differ[0]
            raise UsageError(
                f"{self._file} has a study with another value of {name} ({known.get(name)}, not "
                f"{wanted[name]}): give the flags of that study, or another --storage file"
            )

    def _forget_running(self) -> None:
        """End what a killed process left behind; it is tried again."""
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self._study.tell(trial.number, state=states.FAIL)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        from sqlalchemy.exc import SQLAlchemyError

        errors = self._optuna.exceptions
        try:
            yield
        except (errors.StorageInternalError, SQLAlchemyError) as error:
            cause = str(error.__cause__ or error).splitlines()[0]
            raise UsageError(f"cannot use the study in {self._file}: {cause}") from error
        except RuntimeError as error:  # the file is of another version of Optuna
            if self._file is None:
                raise
            raise UsageError(f"cannot use the study in {self._file}: {error}") from error


@dataclass(frozen=True, slots=True)
class OpenTrial:
    """A trial that is not finished: Optuna's, and the plan to try."""

    handle: Any
    plan: ModelPlan


def _read(trial: Any, plan: ModelPlan) -> Trial:
    try:
        outcome = Outcome(**trial.user_attrs[_OUTCOME])
        tried = ModelPlan(**trial.user_attrs[_PLAN] | {"threads": plan.threads})
    except (LookupError, TypeError) as error:
        raise UsageError(f"trial {trial.number} of the study was not written by tune") from error
    return Trial(trial.number, tried, outcome)


def _load() -> Any:
    """Optuna, loaded when it is used.

    Raises:
        FatalError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise FatalError(f"tune needs the package optuna: {error}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
