"""What a case is: the work on one flagged transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

LEASE_MS: Final = 15 * 60 * 1000
"""How long a claim holds. The page renews it while the transaction is open."""

LABELS: Final = ("FRAUD", "LEGITIMATE", "UNSURE")


class Status(StrEnum):
    """The status of a case."""

    OPEN = "open"
    CLAIMED = "claimed"
    SNOOZED = "snoozed"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True)
class Case:
    """The state of one flagged transaction's case.

    Attributes:
        status: decided, else claimed, else snoozed, else open.
        by: who holds or snoozed it.
        until: end of the lease or snooze, epoch milliseconds.
        since: when it was claimed, epoch milliseconds.
        label: the decision in effect.
        decided_by: who decided.
        decided_at: when, epoch milliseconds.
        note: the note of the decision.
        reasons: the reason codes of the decision.
        recorded: place of its record on the labels topic, ``partition:offset``.
        pending: the decision waits in the outbox.
        version: grows with each change.
        external: the label of a chargeback or reversal.
        is_local: the claim is known to this dashboard alone, because the log cannot be written.
    """

    status: Status = Status.OPEN
    by: str | None = None
    until: int | None = None
    since: int | None = None
    label: str | None = None
    decided_by: str | None = None
    decided_at: int | None = None
    note: str | None = None
    reasons: tuple[str, ...] = ()
    recorded: str | None = None
    pending: bool = False
    version: int = 0
    external: str | None = None
    is_local: bool = False

    def as_json(self) -> dict[str, Any]:
        """The case as the API sends it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a flagged transaction."""

    id: str
    label: str
    reasons: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts: name, role, and the address of the client."""

    name: str
    role: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One entry of a case's history.

    Attributes:
        at: when it was recorded, by the broker's clock, which orders all entries. While it waits,
            when it was made.
        made_at: when it was made, by the clock of whoever made it.
    """

    at: int
    kind: str
    by: str
    label: str | None = None
    reasons: tuple[str, ...] = ()
    note: str | None = None
    until: int | None = None
    origin: str | None = None
    recorded: str | None = None
    supersedes: str | None = None
    pending: bool = False
    is_effective: bool = True
    made_at: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The event as the API sends it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event of the audit log, with its place."""

    place: str
    time: int
    body: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The event as the API sends it."""
        return {**self.body, "time": self.time, "recorded": self.place}


class DeskError(Exception):
    """The desk refuses an action. The message says why."""


class NotFound(DeskError):
    """There is no such flagged transaction or view."""


class Conflict(DeskError):
    """Another user was first.

    Attributes:
        by: who.
        since: when, epoch milliseconds.
        case: the case as it is.
    """

    def __init__(self, text: str, by: str, since: int, case: Case) -> None:
        super().__init__(text)
        self.by = by
        self.since = since
        self.case = case


class Stale(DeskError):
    """The case has changed since the caller read it."""

    def __init__(self, case: Case) -> None:
        super().__init__(f"the case has changed: its version is {case.version} now")
        self.case = case


class NoDecision(DeskError):
    """There is no decision to withdraw."""


class TooMany(DeskError):
    """A limit is reached."""


class KeyReused(DeskError):
    """An idempotency key was used before for something else."""


class DeskUnavailable(DeskError):
    """The desk cannot store the action on its disk."""
