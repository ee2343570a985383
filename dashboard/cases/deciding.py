"""Decisions and their withdrawal. Each is on the disk before it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from dashboard.cases.case import (
    Case,
    Conflict,
    Decision,
    DeskError,
    KeyReused,
    NoDecision,
    Stale,
    Status,
    Who,
)
from dashboard.cases.context import Context
from dashboard.cases.events import BULK, DECISION, WITHDRAWAL, make_event
from dashboard.cases.labels import DECIDE, WITHDRAW, Label
from dashboard.cases.log import Channel
from dashboard.cases.outbox import Entry, event_entry

RECORD_SECONDS: Final = 1.5
"""How long an answer waits for the record, before it says that the decision is pending."""

_COPIED: Final = ("score", "review_threshold", "block_threshold", "model_version", "source")


_MOST_SKEW_MS: Final = 3_600_000  # between two clocks that somebody looks after


class Replaced(NamedTuple):
    """The decision that another one replaces: its place, or its id while it waits in the outbox."""

    place: str | None = None
    id: str | None = None
    decided_at: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One decision of a bulk, with the version that its caller saw."""

    decision: Decision
    expected_version: int | None = None


class Deciding:
    """Records what analysts decide."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def decide(
        self, decision: Decision, who: Who, key: str, expected_version: int | None = None
    ) -> Case:
        """Record a decision. The same key with the same decision records nothing more.

        Raises:
            Conflict: another user has claimed the case.
            Stale: the case has another version.
            KeyReused: the key was used for another decision.
            NotFound: there is no such flag.
            DeskUnavailable: the outbox cannot be written.
        """
        flag = self._queue(decision, DECIDE, who, key, expected_version)
        self._await_records([key])
        return self._context.case(flag)

    def withdraw(
        self, flag_id: str, who: Who, key: str, expected_version: int | None = None
    ) -> Case:
        """Take back the decision in effect: the case is open again.

        Raises:
            NoDecision: no decision is in effect.
            Conflict, Stale, KeyReused, NotFound, DeskUnavailable: as for :meth:`decide`.
        """
        decision = Decision(flag_id, "UNSURE")
        flag = self._queue(decision, WITHDRAW, who, key, expected_version)
        self._await_records([key])
        return self._context.case(flag)

    def decide_many(self, wanted: Sequence[Wanted], who: Who, key: str) -> list[Case | DeskError]:
        """Record decisions; each has its own result. They are written together.

        Raises:
            DeskUnavailable: the outbox cannot be written.
        """
        context = self._context
        flags: list[Mapping[str, Any] | DeskError] = []
        entries = list[Entry]()
        keys = [f"{key}:{one.decision.id}" for one in wanted]
        with context.lock:
            for one, own_key in zip(wanted, keys, strict=True):
                try:
                    flag, new = self._prepare(
                        one.decision, DECIDE, who, own_key, one.expected_version
                    )
                    flags.append(flag)
                    entries += new
                except DeskError as error:
                    flags.append(error)
            refused = sum(isinstance(flag, DeskError) for flag in flags)
            if entries:  # otherwise nothing was decided: all are refused, or were known
                about = {"key": key, "decisions": len(wanted) - refused, "refused": refused}
                bulk = f"{key}:{BULK}"
                event = make_event(BULK, who, context.now(), event_id=bulk, details=about)
                entries.append(event_entry(event))
            self._add(entries)
        self._await_records(keys)
        return [flag if isinstance(flag, DeskError) else self._context.case(flag) for flag in flags]

    def _queue(
        self, decision: Decision, kind: str, who: Who, key: str, expected_version: int | None
    ) -> dict[str, Any]:
        """Check a decision and put it into the outbox. Returns the flag that it is about."""
        with self._context.lock:
            flag, entries = self._prepare(decision, kind, who, key, expected_version)
            self._add(entries)
        return flag

    def _prepare(
        self, decision: Decision, kind: str, who: Who, key: str, expected_version: int | None
    ) -> tuple[dict[str, Any], list[Entry]]:
        """Check a decision. Returns its flag, and its label and event unless they are known."""
        context, flag = self._context, self._context.find(decision.id)
        decision = replace(decision, id=flag["id"])
        if self._is_known(decision, kind, who, key):
            return flag, []
        case = context.case(flag)
        self._check(case, decision.id, kind, who, expected_version)
        transaction_id = flag["transaction_id"]
        replaces = self._replaced(decision.id, transaction_id)
        now = self._time_after(replaces)
        body = {
            "transaction_id": transaction_id,
            "label": decision.label,
            "kind": kind,
            "decided_by": who.name,
            "decided_at": now,
            "note": decision.note or None,
            "reasons": list(decision.reasons),
            "replaces": replaces._asdict(),
            **{name: flag[name] for name in _COPIED},
        }
        event = make_event(
            WITHDRAWAL if kind == WITHDRAW else DECISION,
            who,
            now,
            event_id=f"{key}:{kind}",
            flag_id=decision.id,
            transaction_id=transaction_id,
            label=decision.label,
            reasons=decision.reasons,
            note=decision.note or None,
            details={
                "before": case.label,
                "after": None if kind == WITHDRAW else decision.label,
                "score": flag["score"],
                "model_version": flag["model_version"],
            },
        )
        label = Entry(key, Channel.LABELS, str(transaction_id).encode(), decision.id, body)
        return flag, [label, event_entry(event)]

    def _replaced(self, flag_id: str, transaction_id: int) -> Replaced:
        """The decision that a new one replaces: what whoever decides sees now."""
        context = self._context
        waiting = [
            entry
            for entry in context.outbox.of_flags([flag_id]).get(flag_id, ())
            if entry.channel is Channel.LABELS
        ]
        if waiting:
            return Replaced(None, waiting[-1].id, waiting[-1].body["decided_at"])
        before = context.cache.states({flag_id: transaction_id})[flag_id].decision
        if before is None:
            return Replaced()
        return Replaced(str(before.place), None, before.decided_at)

    def _time_after(self, replaced: Replaced) -> int:
        """The time of a decision: after that of the one it replaces, even if a clock is behind.

        A time that no clock shows is not followed.
        """
        now = self._context.now()
        if replaced.decided_at is None or replaced.decided_at - now > _MOST_SKEW_MS:
            return now
        return max(now, replaced.decided_at + 1)

    def _add(self, entries: Sequence[Entry]) -> None:
        """Put labels and their events into the outbox, all in one write to the disk."""
        context = self._context
        if not entries:
            return
        context.store(entries)
        for entry in entries:
            if entry.channel is Channel.LABELS and entry.flag_id is not None:
                body = entry.body
                context.local.pop(entry.flag_id, None)
                context.counts["withdrawn" if body["kind"] == WITHDRAW else body["label"]] += 1
        context.reader.note_change([entry.flag_id for entry in entries if entry.flag_id])
        context.sender.wake()

    def _check(
        self, case: Case, flag_id: str, kind: str, who: Who, expected_version: int | None
    ) -> None:
        if expected_version is not None and expected_version != case.version:
            raise Stale(case)
        if case.status is Status.CLAIMED and case.by is not None and case.by != who.name:
            self._context.counts["conflicts"] += 1
            since = case.since or self._context.now()
            raise Conflict(f"{flag_id} is claimed by {case.by}", case.by, since, case)
        if kind == WITHDRAW and case.label is None:
            raise NoDecision(f"{flag_id} has no decision to withdraw")

    def _is_known(self, decision: Decision, kind: str, who: Who, key: str) -> bool:
        """Whether this very decision was recorded before, or waits in the outbox.

        Raises:
            KeyReused: the key was used for another decision.
        """
        waiting = self._context.outbox.get(Channel.LABELS, key)
        if waiting is not None:
            body = waiting.body
            known = (
                waiting.flag_id, body["label"], body["kind"], body["decided_by"], body["note"],
                tuple(body["reasons"]),
            )  # fmt: skip
        elif (label := self._context.cache.decision(key)) is not None:
            known = _facts(label)
        else:
            return False
        wanted = (
            decision.id, decision.label, kind, who.name, decision.note or None, decision.reasons,
        )  # fmt: skip
        if known != wanted:
            raise KeyReused(
                f"the Idempotency-Key {key[:40]!r} was used before for another decision: "
                "use a new key for each decision"
            )
        return True

    def _await_records(self, keys: Sequence[str]) -> None:
        """Wait a moment until decisions are on the topic."""
        context = self._context
        if context.can_write(Channel.LABELS):
            context.reader.wait_for(lambda: not context.outbox.has_labels(keys), RECORD_SECONDS)


def _facts(label: Label) -> tuple[Any, ...]:
    return (label.target, label.label, label.kind, label.by, label.note, label.reasons)
