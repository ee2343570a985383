"""Events of the audit log, as the desk writes and reads them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from dashboard.cases.case import Who

CONTRACT: Final = "audit_event"

CLAIM: Final = "claim"
RELEASE: Final = "release"
SNOOZE: Final = "snooze"
LOCAL_CLAIM: Final = "local-claim"
LOCAL_RELEASE: Final = "local-release"
DECISION: Final = "decision"
WITHDRAWAL: Final = "withdrawal"
BULK: Final = "bulk"
EXPORT: Final = "export"
VIEW_SAVED: Final = "view-saved"
VIEW_DELETED: Final = "view-deleted"
PROMOTION: Final = "promotion"
ROLLBACK: Final = "rollback"
THRESHOLDS: Final = "thresholds"
TRAINING: Final = "training"
TRAINING_CANCELLED: Final = "training-cancelled"
TRAINING_ENDED: Final = "training-ended"

CASE_KINDS: Final = frozenset({CLAIM, RELEASE, SNOOZE, DECISION, WITHDRAWAL})
"""The kinds that change who holds a case."""

LOCAL_KINDS: Final = frozenset({LOCAL_CLAIM, LOCAL_RELEASE})
"""What was done while the log could not be written. It held on one dashboard alone, so it changes
nothing for others when it reaches the log, but who looked at what is recorded."""

MAX_TEXT: Final = 2000
"""Characters kept of any text, whoever wrote it."""

_MAX_DETAILS: Final = 64 * 1024
"""Characters of ``details``. A saved view of the largest size fits; JSON that is cut is none."""

_MAX_TIME: Final = 2**53
"""A later time, which only a fault can write, counts as this one: SQLite has 64 bits."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``time`` is the broker's time once it is on the topic, until then ``at``."""

    event_id: str
    kind: str
    at: int
    by: str
    time: int
    role: str | None = None
    client: str | None = None
    flag_id: str | None = None
    transaction_id: int | None = None
    until: int | None = None
    label: str | None = None
    reasons: tuple[str, ...] = ()
    note: str | None = None
    details: str | None = None

    @property
    def key(self) -> bytes:
        """The key of its record: events of one case, or of one user's views, share a partition."""
        return (self.flag_id or self.by).encode()

    def as_record(self) -> dict[str, Any]:
        """The event as the Avro contract has it."""
        record = {name: getattr(self, name) for name in self.__slots__ if name != "time"}
        return {**record, "reasons": list(self.reasons)}

    def as_body(self) -> dict[str, Any]:
        """The event as the audit list shows it."""
        return {**self.as_record(), "details": _loads(self.details)}


def make_event(kind: str, who: Who, now: int, *, event_id: str | None = None, **more: Any) -> Event:
    """A new event of ``who`` at ``now`` (epoch milliseconds). ``details`` may be an object."""
    details = more.pop("details", None)
    text = None if details is None else orjson.dumps(details).decode()
    return Event(
        event_id or uuid.uuid4().hex,
        kind, now, who.name, now, role=who.role, client=who.client, details=text, **more,
    )  # fmt: skip


def read_event(record: Mapping[str, Any], time: int | None = None) -> Event:
    """The event in a decoded record, with texts cut to a bounded size.

    Raises:
        ValueError: the event has no id or no user.
    """
    cut = {name: _cut(record.get(name)) for name in Event.__slots__ if name != "time"}
    details = record.get("details")
    cut["details"] = None if details is None else str(details)[:_MAX_DETAILS]
    if not cut["event_id"] or not cut["by"]:
        raise ValueError("event_id and by must not be empty")
    cut["reasons"] = tuple(str(_cut(reason)) for reason in (record.get("reasons") or ())[:20])
    at = int(record["at"])
    return replace(Event(**cut, time=at), time=min(at if time is None else time, _MAX_TIME))


def _cut(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _loads(text: str | None) -> Any:
    if text is None:
        return None
    try:
        found = orjson.loads(text)
        orjson.dumps(found)  # it refuses depths that it can read
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return text
    return found
