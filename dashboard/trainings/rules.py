"""When a training may start. Pure functions of the trainings that are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from dashboard.trainings.training import (
    AUTOMATIC,
    REQUESTED,
    AlreadyRunning,
    NotCancellable,
    Order,
    TooSoon,
    Training,
)

HOUR_MS: Final = 3_600_000
_KEY_HEX: Final = 32  # 128 bits, and a valid label value of Kubernetes


def digest_key(key: str) -> str:
    """The digest of an Idempotency-Key, which may be stored and shown. Empty for an empty key."""
    return hashlib.sha256(key.encode()).hexdigest()[:_KEY_HEX] if key else ""


def find_repetition(order: Order, trainings: Sequence[Training]) -> Training | None:
    """The training that the same request has started before."""
    if not order.key:
        return None
    return next((one for one in trainings if one.key == order.key), None)


def check_start(
    order: Order,
    trainings: Sequence[Training],
    now: int,
    hours: float,
    remembered: Training | None = None,
) -> None:
    """Check that a training may start at ``now`` (epoch milliseconds).

    ``remembered`` is the last automatic training, which may no longer be among ``trainings``.

    Raises:
        AlreadyRunning: one runs, whoever started it.
        TooSoon: an automatic one was started less than ``hours`` ago, and this one is automatic.
    """
    running = next((one for one in trainings if one.is_running), None)
    if running is not None:
        raise AlreadyRunning(running)
    if order.trigger not in AUTOMATIC:
        return
    known = [*trainings, *([] if remembered is None else [remembered])]
    automatic = [one for one in known if one.trigger in AUTOMATIC]
    last = max(automatic, key=lambda one: one.started_at, default=None)
    if last is not None and (next_at := last.started_at + round(hours * HOUR_MS)) > now:
        raise TooSoon(last, next_at, hours)


def check_cancel(training: Training) -> None:
    """Check that a training may be cancelled.

    Raises:
        NotCancellable: it has ended, or was not requested here.
    """
    if not training.is_running:
        raise NotCancellable(training, f"it has ended, and is {training.state.value}")
    if training.trigger not in REQUESTED:
        raise NotCancellable(
            training,
            f"it was started by {training.trigger.value}, and only requested ones are cancelled "
            "here. kubectl delete job ends it",
        )


def clean_reason(reason: str) -> str:
    """A reason as one line."""
    return " ".join(reason.split())
