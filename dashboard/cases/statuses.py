"""Selects flagged transactions by the status of their case, in SQL on both caches.

It follows the rules of :func:`dashboard.cases.state.build_case` for what is on the topics. What
waits in the outbox is not known to SQL: the caller compares the cases of the rows it gets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dashboard.cases.case import Status

MINE: Final = "mine"
"""Claimed by the user who asks."""

# Both look up one key for each row: the tables may have many thousands.
_DECIDED: Final = (
    "(flags.id IN (SELECT target FROM desk.decided) "
    "OR '#' || flags.transaction_id IN (SELECT target FROM desk.decided))"
)
_DECIDED_ROWS: Final = (
    "SELECT f.rowid FROM desk.decided d JOIN flags f ON f.id = d.target",
    (
        "SELECT f.rowid FROM desk.decided d JOIN flags f "
        "ON f.transaction_id = CAST(substr(d.target, 2) AS INTEGER) WHERE d.target LIKE '#%'"
    ),
)
_HOLD: Final = "EXISTS (SELECT 1 FROM desk.holds h WHERE h.flag_id = flags.id AND {})"
_LEASE: Final = "h.holder IS NOT NULL AND h.lease_until > :now"
_SNOOZE: Final = "h.snoozed_by IS NOT NULL AND h.snoozed_until > :now"
_HELD: Final = {
    Status.CLAIMED.value: _LEASE,
    MINE: f"{_LEASE} AND h.holder = :who",
    Status.SNOOZED.value: f"{_SNOOZE} AND NOT ({_LEASE})",
}


class CaseStatuses:
    """The statuses of all cases, for one user.

    Attributes:
        path: the desk's cache. It is attached as ``desk``.
        who: the user who asks.
    """

    def __init__(self, path: Path, who: str | None = None) -> None:
        self.path = path
        self.who = who

    def parameters(self, now: int) -> dict[str, object]:
        """The parameters of the conditions."""
        return {"now": now, "who": self.who}

    def condition(self, status: str) -> str:
        """The SQL condition that a row of ``flags`` has a status."""
        if status == Status.DECIDED:
            return _DECIDED
        if status == Status.OPEN:
            return f"NOT {_DECIDED} AND NOT {_HOLD.format(f'({_LEASE} OR {_SNOOZE})')}"
        return f"NOT {_DECIDED} AND {_HOLD.format(_HELD[status])}"

    def rows(self, status: str) -> list[str]:
        """Queries that together find the rows with a status, and maybe more.

        For open cases, which are most, they find the rows with any other status.
        """
        if status == Status.OPEN:
            return [*self.rows(Status.DECIDED), _query_of(f"({_LEASE}) OR ({_SNOOZE})")]
        if status == Status.DECIDED:
            return list(_DECIDED_ROWS)
        return [_query_of(_HELD[status])]


def _query_of(held: str) -> str:
    return f"SELECT f.rowid FROM desk.holds h JOIN flags f ON f.id = h.flag_id WHERE {held}"  # noqa: S608
