"""Starts trainings by the rules and counts what happened. Safe for several threads."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dashboard.trainings.rules import check_start, find_repetition
from dashboard.trainings.training import (
    AlreadyRunning,
    Order,
    Runner,
    TooSoon,
    Training,
    TrainingsUnavailable,
)

log = logging.getLogger(__name__)

REFUSALS = ("running", "cooldown", "unavailable")
"""Why a training was not started, as the metric names it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Trainings started by trigger, and requests refused by reason, since the start."""

    started: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


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
        return self._runner.list()

    def start(self, order: Order) -> tuple[Training, bool]:
        """Start a training. Returns it, and False if the same request has started it before.

        Raises:
            AlreadyRunning, TooSoon: see :func:`check_start`.
            TrainingsUnavailable: it cannot be started.
        """
        try:
            # One at a time in this process. The runner compares with ``seen`` across processes.
            with self._lock:
                seen = self._runner.list()
                if (before := find_repetition(order, seen)) is not None:
                    return before, False
                now = int(self._clock() * 1000)
                check_start(order, seen, now, self._cooldown_hours)
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
        self.counts.started[order.trigger.value] += 1
        log.warning(
            "training %s started by %s (%s)", started.id, order.by, order.trigger.value,
            extra={"reason": order.reason},
        )  # fmt: skip
        return started, True

    def log(self, training_id: str) -> str:
        """The end of the log of a training.

        Raises:
            TrainingsUnavailable: it cannot be read.
        """
        return self._runner.log(training_id)
