"""What a page says about a case. ``static/view.js`` says the same after a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from dashboard.web.texts import format_time

LABELS: Final = {"FRAUD": "Fraud", "LEGITIMATE": "Legitimate", "UNSURE": "Unsure"}
_EXTERNAL: Final = {
    "FRAUD": "A chargeback reported fraud",
    "LEGITIMATE": "A reversal reported that it was legitimate",
}
REASONS: Final = {
    "card-testing": "Card testing",
    "stolen-card": "Stolen card",
    "account-takeover": "Account taken over",
    "unusual-device": "Unusual device or place",
    "unusual-amount": "Unusual amount or pace",
    "customer-denied": "Customer denied it",
    "customer-confirmed": "Customer confirmed it",
    "known-customer": "Known customer",
    "other": "Other",
}
"""The reason codes of decisions, and their names. The topic takes any other code too."""

_MINUTE_MS: Final = 60_000
_EVENTS: Final = {
    "claim": "Claimed by {by}",
    "release": "Released by {by}",
    "snooze": "Snoozed by {by} until {until}",
    "local-claim": "Claimed by {by} on one dashboard alone, because Kafka did not answer",
    "local-release": "Released by {by} on one dashboard alone, because Kafka did not answer",
    "decision": "{label}, decided by {by}",
    "withdrawal": "Decision withdrawn by {by}",
    "chargeback": "Chargeback: {label}",
    "reversal": "Reversal: {label}",
}


class CaseText(NamedTuple):
    """The state of a case in words.

    Attributes:
        state: ``open``, ``mine``, ``held``, ``snoozed`` or ``decided``; selects the style.
        text: who has it or decided it, and when.
        proof: whether the decision is recorded, and where. Empty without a decision.
        external: what a chargeback or reversal reported; empty if there is none.
    """

    state: str
    text: str
    proof: str = ""
    external: str = ""


class EventText(NamedTuple):
    """One entry of a case's history in words, and the record that proves it."""

    at: int
    text: str
    note: str
    proof: str


def describe_event(
    event: Mapping[str, Any], me: str | None, labels_topic: str, audit_topic: str
) -> EventText:
    """Say what happened to a case.

    Args:
        event: as the API sends it.
        me: the name of the user.
        labels_topic: where decisions, chargebacks and reversals are recorded.
        audit_topic: where everything else is recorded.
    """
    kind, label = str(event["kind"]), event.get("label")
    form = _EVENTS.get(kind, f"{kind.capitalize()} by {{by}}")
    name = LABELS.get(label or "", str(label))
    text = form.format(
        by=_who(event.get("by"), me), until=format_time(event.get("until")), label=name
    )
    if not event.get("is_effective", True):
        text += ", without effect: another user had it"
    if codes := event.get("reasons"):
        text += f" ({', '.join(REASONS.get(code, code) for code in codes)})"
    made_at = event.get("made_at")
    if made_at is not None and abs(made_at - int(event["at"])) > _MINUTE_MS:
        text += f", made at {format_time(made_at)}"
    is_label = kind in ("decision", "withdrawal", "chargeback", "reversal")
    proof = "Waiting to be recorded" if event.get("pending") else ""
    if recorded := event.get("recorded"):
        proof = _place(recorded, labels_topic if is_label else audit_topic)
    return EventText(int(event["at"]), text, event.get("note") or "", proof)


def describe_case(
    case: Mapping[str, Any] | None, me: str | None, now: int, labels_topic: str
) -> CaseText:
    """Say who has a case, or how it was decided.

    Args:
        case: as the API sends it; None if nothing has happened to it.
        me: the name of the user.
        now: epoch milliseconds.
        labels_topic: where decisions are recorded.
    """
    if case is None:
        return CaseText("open", "Open")
    external = _EXTERNAL.get(case.get("external") or "", "")
    label = case.get("label")
    if label is not None:
        by, at = _who(case.get("decided_by"), me), format_time(case.get("decided_at"))
        text = f"{LABELS.get(label, label)}, decided by {by} at {at}"
        return CaseText("decided", text, _proof(case, labels_topic), external)
    until = case.get("until") or 0
    if until > now and case.get("status") == "claimed":
        is_mine = case.get("by") == me
        since = case.get("since")
        held = f" for {_minutes(now - since)}" if since else ""
        who = "Held by you" if is_mine else f"Held by {case.get('by')}"
        text = f"{who}{held}, until {_clock(until, now)}"
        return CaseText("mine" if is_mine else "held", text, external=external)
    if until > now and case.get("status") == "snoozed":
        text = f"Snoozed by {_who(case.get('by'), me)} until {_clock(until, now)}"
        return CaseText("snoozed", text, external=external)
    return CaseText("open", "Open", external=external)


def _proof(case: Mapping[str, Any], topic: str) -> str:
    if recorded := case.get("recorded"):
        return f"Recorded at {_place(recorded, topic)}"
    return "Waiting to be recorded" if case.get("pending") else ""


def _place(recorded: str, topic: str) -> str:
    partition, _, offset = recorded.partition(":")
    return f"{topic}[{partition}]@{offset}"


def _who(name: str | None, me: str | None) -> str:
    return "you" if name == me and name is not None else str(name or "an unknown user")


def _clock(millis: int, now: int) -> str:
    """``14:18 UTC``, with the date if it is another one."""
    text, today = format_time(millis), format_time(now)
    day, _, clock = text.partition(" ")
    short = f"{clock[:5]} UTC"
    return short if today.startswith(day) else f"{day} {short}"


def _minutes(millis: int) -> str:
    if millis < _MINUTE_MS:
        return f"{max(0, millis) // 1000} s"
    minutes = millis // _MINUTE_MS
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
