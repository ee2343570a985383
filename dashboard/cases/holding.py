"""Claims, releases and snoozes: compare-and-set by the order of the audit log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from dashboard.cache.selection import Selection
from dashboard.cases.case import Case, Conflict, Stale, Status, Who
from dashboard.cases.context import Context
from dashboard.cases.events import (
    CLAIM,
    LOCAL_CLAIM,
    LOCAL_RELEASE,
    RELEASE,
    SNOOZE,
    make_event,
)
from dashboard.cases.rules import NO_HOLD, apply_event
from dashboard.cases.statuses import CaseStatuses

_CANDIDATES: Final = 25  # open cases tried before the list is searched again
_SEARCHES: Final = 3


class Holding:
    """Who works on which case."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def claim(self, flag_id: str, who: Who, expected_version: int | None = None) -> Case:
        """Claim a case for 15 minutes, or renew the claim.

        The claim is written to the log, and whoever comes first there has the case. If the log
        cannot be written, the claim holds on this dashboard alone (``is_local``), and the log has
        it later as such: by then it must not take the case from somebody else.

        Raises:
            Conflict: another user has the case, or it is decided.
            Stale: the case has another version.
            NotFound: there is no such flag.
            DeskUnavailable: the claim cannot be stored, so nobody would ever see it.
        """
        context, flag = self._context, self._context.find(flag_id)
        flag_id, case = flag["id"], context.case(flag)
        _check_version(case, expected_version)
        self._check(flag_id, case, who, may_be_decided=False)
        event = make_event(
            CLAIM, who, context.now(), flag_id=flag_id, transaction_id=flag["transaction_id"]
        )
        if not context.append_event(event):
            with context.lock:
                self._check(flag_id, context.case(flag), who, may_be_decided=False)
                self._claim_locally(flag, who)
            return context.case(flag)
        context.local.pop(flag_id, None)
        self._check_winner(flag, who)
        case = context.case(flag)
        self._check(flag_id, case, who, may_be_decided=False)
        return case

    def release(self, flag_id: str, who: Who, expected_version: int | None = None) -> Case:
        """Release a case. Releasing what nobody holds changes nothing.

        Raises:
            Conflict: another user has the case.
            Stale: the case has another version.
            NotFound: there is no such flag.
        """
        context, flag = self._context, self._context.find(flag_id)
        flag_id = flag["id"]
        case = context.case(flag)
        _check_version(case, expected_version)
        if case.status is not Status.CLAIMED:
            return case
        self._check(flag_id, case, who)
        kind = LOCAL_RELEASE if case.is_local else RELEASE
        event = make_event(
            kind, who, context.now(), flag_id=flag_id, transaction_id=flag["transaction_id"]
        )
        if case.is_local:
            context.queue_event(event)
        else:
            context.write_event(event)
        if context.local.pop(flag_id, None) is not None:
            context.reader.note_change([flag_id])
        return context.case(flag)

    def snooze(
        self, flag_id: str, until: int, who: Who, expected_version: int | None = None
    ) -> Case:
        """Snooze a case until a time (epoch milliseconds). A time that is over ends a snooze.

        Raises:
            Conflict: another user has the case, or it is decided.
            Stale: the case has another version.
            NotFound: there is no such flag.
        """
        context, flag = self._context, self._context.find(flag_id)
        flag_id, case = flag["id"], context.case(flag)
        _check_version(case, expected_version)
        self._check(flag_id, case, who, may_be_decided=False)
        context.local.pop(flag_id, None)
        event = make_event(
            SNOOZE, who, context.now(), flag_id=flag_id, until=until,
            transaction_id=flag["transaction_id"],
        )  # fmt: skip
        if not context.append_event(event):
            context.queue_event(event)
        else:
            self._check_winner(flag, who)
        return context.case(flag)

    def claim_next(self, selection: Selection, who: Who) -> tuple[dict[str, Any], Case] | None:
        """Claim the open case with the highest expected loss. None if no case is open.

        Raises:
            Conflict: other users were faster each time.
        """
        lost: Conflict | None = None
        for _ in range(_SEARCHES):
            candidates = self._open_cases(selection)
            if not candidates:
                return None
            for flag_id in candidates:
                try:
                    case = self.claim(flag_id, who)
                except Conflict as conflict:
                    lost = conflict
                else:
                    return self._context.find(flag_id), case
        if lost is not None:
            raise lost
        return None

    def _open_cases(self, selection: Selection) -> list[str]:
        context, found = self._context, list[str]()
        statuses = CaseStatuses(context.cache.path)
        for flag_ids in context.flags.open_by_loss(selection, context.now(), statuses):
            cases = context.cases(flag_ids)
            found += [one for one in flag_ids if cases[one].status is Status.OPEN]
            if len(found) >= _CANDIDATES:
                break
        return found[:_CANDIDATES]

    def _check(self, flag_id: str, case: Case, who: Who, *, may_be_decided: bool = True) -> None:
        """Raise Conflict if another user holds the case, or it is decided."""
        context, now = self._context, self._context.now()
        if case.status is Status.CLAIMED and case.by is not None and case.by != who.name:
            since = case.since or now
            context.counts["conflicts"] += 1
            raise Conflict(f"{flag_id} is claimed by {case.by}", case.by, since, case)
        if case.status is Status.DECIDED and not may_be_decided:
            by, since = case.decided_by or "unknown", case.decided_at or now
            context.counts["conflicts"] += 1
            raise Conflict(f"{flag_id} is decided by {by}", by, since, case)

    def _check_winner(self, flag: dict[str, Any], who: Who) -> None:
        """Raise Conflict if the log gives the case to another user.

        An event that lost has no effect, so the holder is whoever was first, whatever time the
        clock of this machine shows.
        """
        context, flag_id = self._context, flag["id"]
        hold = context.cache.states({flag_id: None})[flag_id].hold
        if hold.holder not in (None, who.name):
            context.counts["conflicts"] += 1
            by, case = str(hold.holder), context.case(flag)
            raise Conflict(f"{flag_id} is claimed by {by}", by, hold.claimed_at, case)

    def _claim_locally(self, flag: dict[str, Any], who: Who) -> None:
        context, now, flag_id = self._context, self._context.now(), flag["id"]
        for one in [one for one, hold in context.local.items() if not hold.is_held(now)]:
            del context.local[one]
        claim = make_event(CLAIM, who, now, flag_id=flag_id, transaction_id=flag["transaction_id"])
        if flag_id not in context.local:  # a renewal is no news
            context.queue_event(replace(claim, kind=LOCAL_CLAIM))
        context.local[flag_id], _ = apply_event(context.local.get(flag_id, NO_HOLD), claim)
        context.reader.note_change([flag_id])


def _check_version(case: Case, expected: int | None) -> None:
    if expected is not None and expected != case.version:
        raise Stale(case)
