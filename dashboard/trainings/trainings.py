"""Starts trainings by the rules and counts what happened. Safe for several threads."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dashboard.trainings.rules import check_cancel, check_start, find_repetition
from dashboard.trainings.training import (
    AUTOMATIC,
    AlreadyRunning,
    Order,
    Runner,
    State,
    TooSoon,
    Training,
    TrainingsUnavailable,
    UnknownTraining,
)

log = logging.getLogger(__name__)

REFUSALS = ("running", "cooldown", "unavailable")
"""Why a training was not started, as the metric names it."""

ENDED = tuple(state.value for state in State if state is not State.RUNNING)
"""How a training can end, as the metric names it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the start: trainings started by trigger, requests refused by reason, ends by state.

    An end is counted if the training was started here or seen running before.
    """

    started: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)


class Trainings:
    """The trainings of one installation.

    Args:
        runner: where they run.
        cooldown_hours: between two automatic ones; 0: no limit.
        clock: seconds since the epoch.
    """

    def __init__(
        self, runner: Runner, cooldown_hours: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._runner = runner
        self._cooldown_hours = cooldown_hours
        self._clock = clock
        self._lock = threading.Lock()
        self._running: frozenset[str] = frozenset()
        self._seen_lock = threading.Lock()
        self.counts = Counts()

    @property
    def where(self) -> str:
        """Where trainings run, in words."""
        return self._runner.where

    def list(self) -> list[Training]:
        """The trainings that are still known, newest first.

        Raises:
            TrainingsUnavailable: they cannot be read.
        """
        found = self._runner.list()
        with self._seen_lock:
            # Those that have ended in between stay until count_ends.
            self._running &= {one.token for one in found}
            self._running |= {one.token for one in found if one.is_running}
        return found

    @property
    def is_waiting(self) -> bool:
        """Whether the end of some training has not been counted."""
        return bool(self._running)

    def count_ends(self, states: Mapping[str, State]) -> set[str]:
        """Count the ends of trainings that were seen running, each once. Returns those.

        Args:
            states: by token; a Job that succeeded may have published a version that the gate
                refused, which only the store knows.
        """
        with self._seen_lock:
            ended = {
                token
                for token, state in states.items()
                if token in self._running and state is not State.RUNNING
            }
            self._running -= ended
            self.counts.ended.update(states[token].value for token in ended)
        return ended

    def start(self, order: Order) -> tuple[Training, bool]:
        """Start a training. Returns it, and False if the same request has started it before.

        Raises:
            AlreadyRunning, TooSoon: see :func:`check_start`.
            TrainingsUnavailable: it cannot be started.
        """
        try:
            # One at a time in this process. The runner compares with ``seen`` across processes.
            with self._lock:
                seen = self.list()
                if (before := find_repetition(order, seen)) is not None:
                    return before, False
                now = int(self._clock() * 1000)
                last = self._runner.last_automatic() if order.trigger in AUTOMATIC else None
                check_start(order, seen, now, self._cooldown_hours, last)
                started = self._runner.start(order, now, seen)
        except AlreadyRunning as error:
            if order.key and error.running.key == order.key:
                return error.running, False
            self.counts.refused["running"] += 1
            raise
        except TooSoon:
            self.counts.refused["cooldown"] += 1
            raise
        except TrainingsUnavailable:
            self.counts.refused["unavailable"] += 1
            raise
        with self._seen_lock:
            self._running |= {started.token}
        self.counts.started[order.trigger.value] += 1
        log.warning(
            "training %s started by %s (%s)", started.id, order.by, order.trigger.value,
            extra={"reason": order.reason},
        )  # fmt: skip
        return started, True

    def cancel(self, training_id: str, by: str) -> tuple[Training, bool]:
        """Cancel a requested training. Returns it, and False if it was cancelled before.

        Raises:
            UnknownTraining: there is none.
            NotCancellable: see :func:`check_cancel`.
            TrainingsUnavailable: it cannot be cancelled.
        """
        with self._lock:
            found = next((one for one in self.list() if one.id == training_id), None)
            if found is None:
                raise UnknownTraining(training_id)
            if found.state is State.CANCELLED:
                return found, False
            check_cancel(found)
            cancelled, is_new = self._runner.cancel(found, by, int(self._clock() * 1000))
        if is_new:
            log.warning("training %s cancelled by %s", training_id, by)
        return cancelled, is_new

    def log(self, training_id: str) -> str:
        """The end of the log of a training.

        Raises:
            TrainingsUnavailable: it cannot be read.
        """
        return self._runner.log(training_id)
