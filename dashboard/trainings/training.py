"""What a training is, how one is requested, and why a request can be refused.

TrainingsError
├── AlreadyRunning           another training runs
├── TooSoon                  an automatic request within the cooldown
├── UnknownTraining          no such training is known
├── NotCancellable           it has ended, or nobody requested it here
└── TrainingsUnavailable     the runner cannot start or show trainings; says what to do
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

LOG_MAX_BYTES: Final = 64 * 1024
"""The end of a log that is shown. A whole training logs a few kilobytes."""

LOG_MAX_LINES: Final = 200

REFUSED_CODE: Final = 4
"""The exit code of a training that ran to its end, and whose version the gate refused. The trainer
uses it only if TRAINING_ID is set, and the CronJob does not repeat such a training."""


_SHOWN_CHARACTERS: Final = 80


class Trigger(StrEnum):
    """What started a training. The last two are not requested here, but are seen here."""

    PERSON = "person"
    DRIFT = "drift"
    QUALITY = "quality"
    SCHEDULE = "schedule"
    KUBECTL = "kubectl"


REQUESTED: Final = (Trigger.PERSON, Trigger.DRIFT, Trigger.QUALITY)
"""What a request may name."""

AUTOMATIC: Final = (Trigger.DRIFT, Trigger.QUALITY)
"""Requests of programs. They share one cooldown."""


class State(StrEnum):
    """The state of a training. Only the first one can change."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Order:
    """A request for a training. ``key`` makes a repetition recognizable; it may be empty."""

    reason: str
    trigger: Trigger
    by: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """One training.

    Attributes:
        id: the name of its Job or of its folder. The version that it publishes names it too.
        state: see :class:`State`.
        started_at: when it was started, epoch milliseconds.
        trigger: what started it.
        reason: why, as requested; empty for a scheduled one.
        by: who requested it; empty if nobody did.
        ended_at: epoch milliseconds; None while it runs.
        detail: why it failed or was refused, who cancelled it, or what it waits for.
        key: of the request.
        token: unique to this training, even if another one had the same name.
    """

    id: str
    state: State
    started_at: int
    trigger: Trigger
    reason: str = ""
    by: str = ""
    ended_at: int | None = None
    detail: str = ""
    key: str = ""
    token: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state is State.RUNNING

    def as_json(self) -> dict[str, Any]:
        """The training as JSON."""
        return {
            "id": self.id,
            "state": self.state.value,
            "trigger": self.trigger.value,
            "reason": self.reason or None,
            "by": self.by or None,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "detail": self.detail or None,
        }


class Runner(Protocol):
    """Starts trainings and knows those that it started. Every call is bounded in time."""

    @property
    def where(self) -> str:
        """Where trainings run, in words."""
        ...

    def list(self) -> list[Training]:
        """The trainings that are still known, newest first.

        Raises:
            TrainingsUnavailable: they cannot be read.
        """
        ...

    def start(self, order: Order, now: int, seen: Sequence[Training]) -> Training:
        """Start a training. ``seen`` is the list that the decision was based on.

        Raises:
            AlreadyRunning: another dashboard has started one since that list was read.
            TrainingsUnavailable: it cannot be started.
        """
        ...

    def last_automatic(self) -> Training | None:
        """The last automatic training as it was started, even if :meth:`list` no longer has it.

        Raises:
            TrainingsUnavailable: it cannot be read.
        """
        ...

    def cancel(self, training: Training, by: str, now: int) -> tuple[Training, bool]:
        """Cancel a training that runs. Returns it, and False if it was being cancelled already.

        Raises:
            NotCancellable: it has ended in between.
            TrainingsUnavailable: it cannot be cancelled.
        """
        ...

    def log(self, training_id: str) -> str:
        """The end of the log of a training that :meth:`list` has. Empty if there is none yet.

        Raises:
            TrainingsUnavailable: it cannot be read.
        """
        ...


class TrainingsError(Exception):
    """A training cannot be started or shown. The message is for the user."""


class AlreadyRunning(TrainingsError):
    """Another training runs."""

    def __init__(self, running: Training) -> None:
        why = f" ({running.reason})" if running.reason else ""
        super().__init__(
            f"training {running.id}{why} has been running since {format_utc(running.started_at)}, "
            "and one runs at a time: wait until it has ended"
        )
        self.running = running


class TooSoon(TrainingsError):
    """The cooldown of automatic requests has not passed."""

    def __init__(self, last: Training, next_at: int, hours: float) -> None:
        super().__init__(
            f"training {last.id} was started by {last.trigger.value} at "
            f"{format_utc(last.started_at)}, and TRAINING_COOLDOWN_HOURS={hours:g} must pass "
            f"between such trainings: the next one may start at {format_utc(next_at)}. A person "
            "may start one now"
        )
        self.last = last
        self.next_at = next_at


class UnknownTraining(TrainingsError):
    """No such training is known."""

    def __init__(self, training_id: str) -> None:
        super().__init__(
            f"training {training_id[:_SHOWN_CHARACTERS]!r} is not known here: only the last ones "
            "are kept. The version that it published names it"
        )


class NotCancellable(TrainingsError):
    """A training cannot be cancelled, whoever asks."""

    def __init__(self, training: Training, why: str) -> None:
        super().__init__(f"training {training.id} cannot be cancelled: {why}")
        self.training = training


class TrainingsUnavailable(TrainingsError):
    """The runner cannot do what was requested. ``is_permanent``: not until an operator acts."""

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


def format_utc(milliseconds: int) -> str:
    """``2026-11-30 08:15 UTC``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def tail(log: str) -> str:
    """The last lines of a log, within :data:`LOG_MAX_LINES`."""
    return "\n".join(log.splitlines()[-LOG_MAX_LINES:])
