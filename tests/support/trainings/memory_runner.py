"""An in-memory fake of the runners of trainings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from dashboard.trainings.rules import check_cancel
from dashboard.trainings.training import (
    AUTOMATIC,
    AlreadyRunning,
    Order,
    State,
    Training,
    TrainingsUnavailable,
)


class MemoryRunner:
    """Trainings that run until a test ends them. ``problem`` makes every call fail."""

    where = "memory"

    def __init__(self) -> None:
        self.trainings: list[Training] = []
        self.automatic: Training | None = None
        self.logs: dict[str, str] = {}
        self.problem: TrainingsUnavailable | None = None
        self._numbers = itertools.count(1)

    def list(self) -> list[Training]:
        self._check()
        return list(reversed(self.trainings))

    def start(self, order: Order, now: int, seen: Sequence[Training]) -> Training:  # noqa: ARG002 - required by the port
        self._check()
        for one in self.trainings:
            if one.is_running:
                raise AlreadyRunning(one)
        name = f"training-{next(self._numbers)}"
        started = Training(
            name, State.RUNNING, now, order.trigger, order.reason, order.by, key=order.key,
            token=name,
        )  # fmt: skip
        self.trainings.append(started)
        if order.trigger in AUTOMATIC:
            self.automatic = started
        return started

    def last_automatic(self) -> Training | None:
        self._check()
        return self.automatic

    def cancel(self, training: Training, by: str, now: int) -> tuple[Training, bool]:
        self._check()
        at = next(i for i, one in enumerate(self.trainings) if one.id == training.id)
        check_cancel(self.trainings[at])
        self.trainings[at] = replace(
            training, state=State.CANCELLED, ended_at=now, detail=f"cancelled by {by}"
        )
        return self.trainings[at], True

    def log(self, training_id: str) -> str:
        self._check()
        return self.logs.get(training_id, "")

    def end(self, state: State = State.SUCCEEDED, detail: str = "") -> None:
        """End the training that runs."""
        self.trainings = [
            replace(one, state=state, detail=detail, ended_at=one.started_at + 1000)
            if one.is_running
            else one
            for one in self.trainings
        ]

    def _check(self) -> None:
        if self.problem is not None:
            raise self.problem
