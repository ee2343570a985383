"""Who holds a case: a pure function of the audit log.

Every replica of the dashboard reads the same records in the same order for one case, and applies
the same rules, with the broker's timestamps. So all of them agree without talking to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dashboard.cases.case import LEASE_MS
from dashboard.cases.events import CASE_KINDS, CLAIM, LOCAL_KINDS, RELEASE, SNOOZE, Event


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds or snoozed a case, as far as the audit log has been read.

    Attributes:
        holder: who claimed it last and did not release it; the lease may be over.
        claimed_at: when the holder claimed it first.
        lease_until: end of the lease.
        claim_id: the event that gave the holder the lease.
        snoozed_by: who snoozed it.
        snoozed_until: end of the snooze.
        changes: the number of changes.

    All times are epoch milliseconds of the broker.
    """

    holder: str | None = None
    claimed_at: int = 0
    lease_until: int = 0
    claim_id: str | None = None
    snoozed_by: str | None = None
    snoozed_until: int = 0
    changes: int = 0

    def is_held(self, now: int) -> bool:
        """Whether the lease of the holder still runs."""
        return self.holder is not None and now < self.lease_until

    def is_held_by_other(self, who: str, now: int) -> bool:
        """Whether somebody other than ``who`` has the lease."""
        return self.is_held(now) and self.holder != who

    def is_snoozed(self, now: int) -> bool:
        """Whether the snooze still runs."""
        return self.snoozed_by is not None and now < self.snoozed_until


NO_HOLD = Hold()


def apply_event(hold: Hold, event: Event) -> tuple[Hold, bool]:
    """The state after an event, and whether the event had an effect.

    A claim or snooze while another user has the lease has none, and neither has the release of
    somebody who holds nothing. The holder's own claim renews the lease and is no change. A claim
    that held on one dashboard alone had its effect there, and has none here.
    """
    if event.kind not in CASE_KINDS:
        return hold, event.kind in LOCAL_KINDS
    if event.kind == CLAIM:
        return _claim(hold, event)
    if event.kind == RELEASE:
        if hold.holder != event.by or not hold.is_held(event.time):
            return hold, False
        return replace(_without_lease(hold), changes=hold.changes + 1), True
    if event.kind == SNOOZE:
        if hold.is_held_by_other(event.by, event.time):
            return hold, False
        until = event.until or 0
        cleared = Hold(changes=hold.changes + 1)
        if until <= event.time:
            return cleared, True
        return replace(cleared, snoozed_by=event.by, snoozed_until=until), True
    # A decision or its withdrawal ends lease and snooze. The label itself counts as the change.
    return Hold(changes=hold.changes), True


def _claim(hold: Hold, event: Event) -> tuple[Hold, bool]:
    if hold.is_held_by_other(event.by, event.time):
        return hold, False
    until = event.time + LEASE_MS
    if hold.is_held(event.time):
        return replace(hold, lease_until=max(until, hold.lease_until)), True
    return Hold(event.by, event.time, until, event.event_id, changes=hold.changes + 1), True


def _without_lease(hold: Hold) -> Hold:
    return replace(hold, holder=None, claimed_at=0, lease_until=0, claim_id=None)
