"""The desk of this dashboard. All replicas show the same cases, because all read one log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dashboard.cache.selection import Selection
from dashboard.cases.case import (
    AuditEntry,
    Case,
    CaseEvent,
    DeskError,
    NotFound,
    TooMany,
    Who,
)
from dashboard.cases.context import Context
from dashboard.cases.deciding import Deciding, Wanted
from dashboard.cases.events import VIEW_DELETED, VIEW_SAVED, make_event
from dashboard.cases.flags import Flags
from dashboard.cases.holding import Holding
from dashboard.cases.log import Channel, DeskLog
from dashboard.cases.outbox import Restored
from dashboard.cases.reading import ReadingState
from dashboard.cases.state import (
    NOTHING,
    AuditCursor,
    AuditSelection,
    StandingLabel,
    event_of_pending,
)
from dashboard.cases.statuses import CaseStatuses
from schemas.resolver import SchemaResolver

log = logging.getLogger(__name__)

MAX_VIEWS: Final = 100


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """The state of the desk, for probes, pages and metrics.

    Attributes:
        state: starting, waiting, rebuilding or live.
        detail: what is wrong, and what to do about it. Empty if nothing is.
        since: epoch milliseconds of the last change of state.
        missing: names of the topics that do not exist, or that this user is not authorized for.
        waiting: decisions in the outbox.
        events_waiting: audit events in the outbox.
        lag: records of the two topics that have not been read.
        unreadable: records of them that could not be read.
        counts: decisions by label, withdrawals, and conflicts, since the start.
        restored: what became of the outbox, if it was deleted since the start.
    """

    state: str
    detail: str
    since: int
    missing: tuple[str, ...]
    waiting: int
    events_waiting: int
    lag: int
    unreadable: int
    counts: Mapping[str, int]
    restored: Restored | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the desk follows its topics and nothing is missing."""
        return self.state == ReadingState.LIVE and not self.missing


class Desk:
    """Claims, decisions, snoozes, history, audit log and saved views. Safe for several threads.

    Actions wait at most two seconds for the broker.
    """

    def __init__(
        self,
        desk_log: DeskLog,
        folder: Path,
        table: Path,
        resolvers: Mapping[Channel, SchemaResolver],
        input_topic: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._context = Context(
            desk_log, folder, Flags(table, input_topic), resolvers, input_topic, clock
        )
        self._holding = Holding(self._context)
        self._deciding = Deciding(self._context)
        self.claim = self._holding.claim
        self.release = self._holding.release
        self.snooze = self._holding.snooze
        self.decide = self._deciding.decide
        self.withdraw = self._deciding.withdraw

    def start(self) -> None:
        """Start reading and sending."""
        self._context.reader.start()
        self._context.sender.start()

    def stop(self, timeout: float) -> None:
        """Stop both threads. What waits stays in the outbox."""
        context = self._context
        context.sender.stop(timeout)
        context.reader.stop(timeout)
        context.log.close()
        if waiting := context.outbox.count(Channel.LABELS):
            log.warning("%d decisions wait in %s until Kafka can be reached",
                        waiting, context.outbox.path)  # fmt: skip
        context.outbox.close()

    def case_of(self, flag_ids: Iterable[str]) -> dict[str, Case]:
        """The cases of flags. A flag that nobody has touched has an open case."""
        return self._context.cases(flag_ids)

    def statuses(self, who: str | None = None) -> CaseStatuses:
        """Selects flags by the status of their case; ``mine`` is that of ``who``."""
        return CaseStatuses(self._context.cache.path, who)

    def claim_next(self, selection: Selection, who: Who) -> tuple[dict[str, Any], Case] | None:
        """Claim the open case of a selection with the highest expected loss."""
        return self._holding.claim_next(selection, who)

    def decide_many(self, wanted: Sequence[Wanted], who: Who, key: str) -> list[Case | DeskError]:
        """Record decisions; each has its own result."""
        return self._deciding.decide_many(wanted, who, key)

    def events(self, flag_id: str) -> list[CaseEvent]:
        """The history of a case, oldest first.

        Raises:
            NotFound: there is no such flag.
        """
        context, flag = self._context, self._context.find(flag_id)
        pending = context.waiting([flag["id"]]).get(flag["id"], NOTHING)
        found = context.cache.history(flag["id"], flag["transaction_id"])
        return found + [event_of_pending(body) for body in pending.labels]

    def audit(
        self, selection: AuditSelection, after: AuditCursor | None, limit: int
    ) -> list[tuple[AuditCursor, AuditEntry]]:
        """Events of the audit log, newest first, each with the cursor that follows it."""
        return self._context.cache.audit(selection, after, limit)

    def count_decided(self, user: str, since: int) -> int:
        """How many cases a user has decided since a time, as far as the audit log has it."""
        return self._context.cache.count_decided(user, since)

    def standing_labels(self) -> list[StandingLabel]:
        """The recorded labels of all cases as they stand."""
        return self._context.cache.standing_labels()

    def record(
        self, kind: str, who: Who, details: Mapping[str, Any], event_id: str | None = None
    ) -> None:
        """Write an event that is about no case, such as an export or a promotion.

        It is on the disk when this returns, and on the topic soon after. Of several events of one
        user with the same id, the first counts.
        """
        context, about = self._context, dict(details)
        context.queue_event(make_event(kind, who, context.now(), event_id=event_id, details=about))

    def views(self, user: str) -> list[dict[str, Any]]:
        """The saved views of a user by name."""
        found = self._context.cache.views(user)
        for entry in self._context.outbox.of_user(user):
            event = entry.as_event()
            view = event.as_body()["details"]
            if event.kind == VIEW_SAVED:
                found[view["name"]] = view
            elif event.kind == VIEW_DELETED:
                found.pop(view["name"], None)
        return [found[name] for name in sorted(found)]

    def save_view(self, who: Who, view: Mapping[str, Any]) -> None:
        """Save a view under its name, in place of one with that name.

        Raises:
            TooMany: the user has 100 views.
        """
        names = {one["name"] for one in self.views(who.name)}
        if len(names | {view["name"]}) > MAX_VIEWS:
            raise TooMany(f"you have {MAX_VIEWS} saved views: delete one first")
        self._context.write_event(
            make_event(VIEW_SAVED, who, self._context.now(), details=dict(view))
        )

    def delete_view(self, who: Who, name: str) -> None:
        """Delete a saved view.

        Raises:
            NotFound: the user has no view of this name.
        """
        if name not in {one["name"] for one in self.views(who.name)}:
            raise NotFound(f"saved view {name[:80]!r} not found")
        now = self._context.now()
        self._context.write_event(make_event(VIEW_DELETED, who, now, details={"name": name}))

    def changes_after(self, number: int) -> tuple[int, list[str] | None]:
        """The number of the last change of any case, and the ids that changed after ``number``.

        None instead of the ids: there were too many, so read the list again.
        """
        last, targets = self._context.reader.changes_after(number)
        if targets is None:
            return last, None
        found = list[str]()
        for target in targets:
            is_transaction = target.startswith("#")
            found += (
                self._context.flags.of_transaction(int(target[1:])) if is_transaction else [target]
            )
        return last, list(dict.fromkeys(found))

    def decided_scores(self) -> dict[str, float]:
        """Flag id → score of all stored transactions with a recorded decision."""
        return self._context.flags.decided_scores(self._context.cache.path)

    def scores_of(self, flag_ids: Collection[str]) -> dict[str, float]:
        """The scores of flags, as far as they are stored."""
        return self._context.flags.scores(flag_ids)

    def waiting(self) -> int:
        """The number of decisions in the outbox."""
        return self._context.outbox.count(Channel.LABELS)

    def status(self) -> DeskStatus:
        """The state of the desk."""
        context = self._context
        reading, outbox = context.reader.status, context.outbox
        names = {channel: context.log.name_of(channel) for channel in reading.problems}
        parts = [reading.detail] if reading.detail else []
        parts += [f"topic {names[channel]} {why}" for channel, why in reading.problems.items()]
        if any(outbox.count(channel) for channel in Channel) and context.log.problem:
            parts.append(context.log.problem)
        return DeskStatus(
            reading.state.value, "; ".join(parts), reading.since, tuple(sorted(names.values())),
            outbox.count(Channel.LABELS),
            outbox.count(Channel.AUDIT), reading.lag, reading.unreadable, dict(context.counts),
            outbox.restored,
        )  # fmt: skip
