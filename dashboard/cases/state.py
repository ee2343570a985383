"""Cases, histories, audit log and saved views, read from the cache of the desk.

What waits in the outbox is shown too: a decision that is not recorded yet counts at once on the
dashboard where it was made.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from dashboard.cache.connection import reading
from dashboard.cases.case import AuditEntry, Case, CaseEvent, Status
from dashboard.cases.desk_table import HOLD
from dashboard.cases.events import DECISION, WITHDRAWAL, Event
from dashboard.cases.labels import WITHDRAW, Label, external_label, latest, target_of
from dashboard.cases.log import Place
from dashboard.cases.rules import NO_HOLD, Hold, apply_event

_HISTORY: Final = 200
_CHUNK: Final = 500  # values of one query
_COLUMNS: Final = (
    "partition, offset, time, target, transaction_id, decision_id, origin, label, kind, by, "
    "decided_at, note, reasons, supersedes"
)
_PREFIXED: Final = ", ".join(f"l.{name}" for name in _COLUMNS.split(", "))


@dataclass(frozen=True, slots=True)
class CaseState:
    """What the cache knows about one case.

    Attributes:
        hold: who holds it.
        labels: the last labels of each partition.
        label_count: how many labels there are.
    """

    hold: Hold
    labels: tuple[Label, ...] = ()
    label_count: int = 0

    @property
    def decision(self) -> Label | None:
        """The last label of an analyst."""
        return latest(label for label in self.labels if not label.is_external)


@dataclass(frozen=True, slots=True)
class AuditSelection:
    """Selects events of the audit log. Times are epoch milliseconds, ``until`` excluded."""

    kind: str | None = None
    by: str | None = None
    flag_id: str | None = None
    since: int | None = None
    until: int | None = None

    def sql(self) -> tuple[str, dict[str, Any]]:
        """The selection as an SQL condition, and its parameters."""
        parts = {
            "kind": "kind = :kind",
            "by": "by = :by",
            "flag_id": "flag_id = :flag_id",
            "since": "time >= :since",
            "until": "time < :until",
        }
        given = {name: getattr(self, name) for name in parts if getattr(self, name) is not None}
        return " AND ".join(parts[name] for name in given) or "1", given


class StandingLabel(NamedTuple):
    """One label that stands. ``flag_id`` is None if it names a transaction and no source."""

    flag_id: str | None
    transaction_id: int
    label: str
    origin: str
    decided_at: int


AuditCursor = tuple[int, int, int]
"""Time, partition and offset of the last event of a page."""


class DeskCache:
    """Read access to the cache. Each call opens its own connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def states(self, transaction_ids: Mapping[str, int | None]) -> dict[str, CaseState]:
        """The states of cases: flag id → transaction id, as far as it is known."""
        targets = {
            flag_id: (flag_id,) if number is None else (flag_id, target_of(number))
            for flag_id, number in transaction_ids.items()
        }
        labels = defaultdict[str, list[tuple[Label, int]]](list)
        with reading(self.path) as db:
            wanted = {target for pair in targets.values() for target in pair}
            # The queries contain only column names and placeholders.
            for row in _select_in(
                db,
                f"SELECT {_PREFIXED}, t.count FROM latest t JOIN labels l ON "  # noqa: S608
                "l.partition = t.partition AND l.offset = t.offset WHERE t.target IN",
                wanted,
            ):
                label = _label(row[:-1])
                labels[label.target].append((label, row[-1]))
            holds = {
                row[0]: Hold(*row[1:])
                for row in _select_in(db, f"SELECT {HOLD} FROM holds WHERE flag_id IN", targets)  # noqa: S608
            }
        states = {}
        for flag_id, pair in targets.items():
            found = [one for target in pair for one in labels.get(target, ())]
            states[flag_id] = CaseState(
                holds.get(flag_id, NO_HOLD),
                tuple(label for label, _ in found),
                sum(count for _, count in found),
            )
        return states

    def standing_labels(self) -> list[StandingLabel]:
        """The labels of all cases as they stand: what analysts decided, and what others said."""
        found: dict[tuple[str, int], StandingLabel] = {}
        with reading(self.path) as db:
            # A withdrawal is the last label of its case, so it takes its place and is left out.
            for is_external, kind, target, *rest in db.execute(
                "SELECT t.is_external, l.kind, l.target, l.transaction_id, l.label, l.origin, "
                "l.decided_at FROM latest t JOIN labels l ON l.partition = t.partition "
                "AND l.offset = t.offset ORDER BY l.decided_at, l.partition, l.offset"
            ):
                if kind == WITHDRAW:
                    found.pop((target, is_external), None)
                else:
                    flag_id = None if target.startswith("#") else target
                    found[target, is_external] = StandingLabel(flag_id, *rest)
        return list(found.values())

    def decision(self, decision_id: str) -> Label | None:
        """The recorded decision with an idempotency key."""
        with reading(self.path) as db:
            # The query contains only column names and placeholders.
            row = db.execute(
                f"SELECT {_COLUMNS} FROM labels WHERE decision_id = ?",  # noqa: S608
                (decision_id,),
            ).fetchone()
        return _label(row) if row else None

    def recorded(self, decision_ids: Iterable[str], event_ids: Iterable[str]) -> set[str]:
        """Those of some decisions and events that are on the topics already."""
        with reading(self.path) as db:
            queries = (
                ("SELECT decision_id FROM labels WHERE decision_id = ?", decision_ids),
                ("SELECT event_id FROM events WHERE event_id = ?", event_ids),
            )
            return {
                row[0]
                for query, ids in queries
                for one in ids
                for row in db.execute(query, (one,)).fetchall()
            }

    def history(self, flag_id: str, transaction: int | None) -> list[CaseEvent]:
        """What happened to a case, oldest first; the last 200 entries of each kind."""
        targets = (flag_id, target_of(transaction) if transaction is not None else flag_id)
        with reading(self.path) as db:
            # The query contains only column names and placeholders.
            labels = db.execute(
                f"SELECT {_COLUMNS} FROM labels WHERE target IN (?, ?) "  # noqa: S608
                "ORDER BY time DESC, partition DESC, offset DESC LIMIT ?",
                (*targets, _HISTORY),
            ).fetchall()
            events = db.execute(
                "SELECT time, is_effective, body, partition, offset FROM events "
                "WHERE flag_id = ? AND kind NOT IN (?, ?) "
                "ORDER BY time DESC, partition DESC, offset DESC LIMIT ?",
                (flag_id, DECISION, WITHDRAWAL, _HISTORY),
            ).fetchall()
        # Reversed, so that entries of the same millisecond keep the order of their topic.
        found = [_event_of_label(_label(row)) for row in reversed(labels)]
        for time, is_effective, body, *place in reversed(events):
            about = orjson.loads(body)
            found.append(
                CaseEvent(
                    time, about["kind"], about["by"], note=about["note"], until=about["until"],
                    recorded=str(Place(*place)), is_effective=bool(is_effective),
                    made_at=about["at"],
                )
            )  # fmt: skip
        return sorted(found, key=lambda event: event.at)

    def audit(
        self, selection: AuditSelection, after: AuditCursor | None, limit: int
    ) -> list[tuple[AuditCursor, AuditEntry]]:
        """Events of the audit log, newest first, that follow ``after``."""
        condition, parameters = selection.sql()
        if after is not None:
            condition += " AND (time, partition, offset) < (:t, :p, :o)"
            parameters |= dict(zip("tpo", after, strict=True))
        # The condition contains only column names and placeholders.
        query = (
            "SELECT time, partition, offset, body FROM events "  # noqa: S608
            f"WHERE {condition} ORDER BY time DESC, partition DESC, offset DESC LIMIT :limit"
        )
        with reading(self.path) as db:
            rows = db.execute(query, {**parameters, "limit": limit}).fetchall()
        return [
            ((time, partition, offset),
             AuditEntry(str(Place(partition, offset)), time, orjson.loads(body)))
            for time, partition, offset, body in rows
        ]  # fmt: skip

    def count_decided(self, user: str, since: int) -> int:
        """How many cases a user has decided since a time, and has not withdrawn that again."""
        query = (
            "SELECT count(*) FROM (SELECT kind, row_number() OVER (PARTITION BY flag_id "
            "ORDER BY time DESC, partition DESC, offset DESC) AS place FROM events "
            "WHERE by = ? AND time >= ? AND kind IN (?, ?)) WHERE place = 1 AND kind = ?"
        )
        with reading(self.path) as db:
            values = (user, since, DECISION, WITHDRAWAL, DECISION)
            return int(db.execute(query, values).fetchone()[0])

    def views(self, user: str) -> dict[str, dict[str, Any]]:
        """The saved views of a user by name."""
        with reading(self.path) as db:
            rows = db.execute("SELECT name, body FROM views WHERE user = ? ORDER BY name", (user,))
            return {name: orjson.loads(body) for name, body in rows}


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits in the outbox about one case: events, and labels with their kinds."""

    events: Sequence[Event] = ()
    labels: Sequence[Mapping[str, Any]] = ()


NOTHING: Final = Pending()


def build_case(state: CaseState, pending: Pending, now: int, *, local: Hold | None = None) -> Case:
    """The case at ``now``: what the topics say, and then what waits in the outbox."""
    hold = state.hold
    for event in pending.events:
        hold, _ = apply_event(hold, event)
    is_local = local is not None and local.is_held(now) and not hold.is_held(now)
    if is_local and local is not None:
        hold = replace(local, changes=hold.changes)
    case = Case(
        version=hold.changes + state.label_count + len(pending.labels),
        external=external_label(latest(one for one in state.labels if one.is_external)),
        pending=bool(pending.labels),
    )
    case = _decided(case, state.decision, pending)
    if case.label is not None:
        return replace(case, status=Status.DECIDED)
    if hold.is_held(now):
        return replace(
            case, status=Status.CLAIMED, by=hold.holder, until=hold.lease_until,
            since=hold.claimed_at, is_local=is_local,
        )  # fmt: skip
    if hold.is_snoozed(now):
        return replace(case, status=Status.SNOOZED, by=hold.snoozed_by, until=hold.snoozed_until)
    return case


def _decided(case: Case, label: Label | None, pending: Pending) -> Case:
    if pending.labels:
        last = pending.labels[-1]
        if last["kind"] == WITHDRAW:
            return case
        return replace(
            case, label=last["label"], decided_by=last["decided_by"],
            decided_at=last["decided_at"], note=last["note"], reasons=tuple(last["reasons"]),
        )  # fmt: skip
    if label is None or label.is_withdrawal:
        return case
    return replace(
        case, label=label.label, decided_by=label.by, decided_at=label.decided_at,
        note=label.note, reasons=label.reasons, recorded=str(label.place),
    )  # fmt: skip


def _select_in(
    db: sqlite3.Connection, query: str, values: Collection[str]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that ends with ``IN``, for any number of values."""
    wanted = list(values)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        yield from db.execute(f"{query} ({', '.join('?' * len(chunk))})", chunk)


def event_of_pending(body: Mapping[str, Any]) -> CaseEvent:
    """The history entry of a decision that waits in the outbox."""
    return CaseEvent(
        body["decided_at"], WITHDRAWAL if body["kind"] == WITHDRAW else DECISION,
        body["decided_by"], body["label"], tuple(body["reasons"]), body["note"],
        origin="ANALYST", pending=True, made_at=body["decided_at"],
    )  # fmt: skip


def _event_of_label(label: Label) -> CaseEvent:
    kind = DECISION if not label.is_external else label.origin.lower()
    return CaseEvent(
        label.time, WITHDRAWAL if label.is_withdrawal else kind, label.by, label.label,
        label.reasons, label.note, origin=label.origin, recorded=str(label.place),
        supersedes=label.supersedes, made_at=label.decided_at,
    )  # fmt: skip


def _label(row: Sequence[Any]) -> Label:
    values = list(row)
    place, reasons = Place(*values[:2]), tuple(orjson.loads(values[12]))
    return Label(place, *values[2:12], reasons, values[13])  # type: ignore[call-arg]
