"""Events of the audit log in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from dashboard.cases import events
from dashboard.cases.case import AuditEntry
from dashboard.web.texts import format_time, format_value

KINDS: Final = {
    events.CLAIM: "Claimed",
    events.RELEASE: "Released",
    events.SNOOZE: "Snoozed",
    events.LOCAL_CLAIM: "Claimed on one dashboard alone",
    events.LOCAL_RELEASE: "Released on one dashboard alone",
    events.DECISION: "Decided",
    events.WITHDRAWAL: "Withdrew the decision",
    events.BULK: "Decided several",
    events.EXPORT: "Exported",
    events.VIEW_SAVED: "Saved a view",
    events.VIEW_DELETED: "Deleted a view",
    events.PROMOTION: "Promoted a model",
    events.ROLLBACK: "Rolled back the model",
    events.THRESHOLDS: "Published other thresholds",
    events.TRAINING: "Started a training",
    events.TRAINING_CANCELLED: "Cancelled a training",
    events.TRAINING_ENDED: "A training ended",
}
"""Other kinds, of a later release, are shown by their name."""

_MAX_CHARS: Final = 500


def describe(entry: AuditEntry) -> dict[str, Any]:
    """One event as a row of the page."""
    body = entry.body
    flag_id, kind = body.get("flag_id"), str(body.get("kind"))
    return {
        "time": entry.time,
        "place": entry.place,
        "kind": kind,
        "what": KINDS.get(kind, kind),
        "by": body.get("by"),
        "role": body.get("role"),
        "client": body.get("client"),
        "flag_id": flag_id,
        "link": f"/t/{quote(flag_id, safe='')}" if flag_id else None,
        "transaction_id": body.get("transaction_id"),
        "more": _more(body),
    }


def _more(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What else the event says, as pairs of name and text."""
    pairs: list[tuple[str, str]] = []
    if body.get("label"):
        pairs.append(("Label", str(body["label"])))
    if body.get("until"):
        pairs.append(("Until", format_time(body["until"])))
    if body.get("reasons"):
        pairs.append(("Reasons", ", ".join(map(str, body["reasons"]))))
    if body.get("note"):
        pairs.append(("Note", str(body["note"])))
    details = body.get("details")
    if isinstance(details, Mapping):
        pairs += [
            (_name(name), _value(value))
            for name, value in details.items()
            if (name, value) != ("after", body.get("label"))  # which is said already
        ]
    elif details is not None:
        pairs.append(("Details", _value(details)))
    return [(name, text[:_MAX_CHARS]) for name, text in pairs if text]


def _name(name: object) -> str:
    words = str(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return format_value(value)
    return "" if value is None else orjson.dumps(value).decode()
