"""What is remembered of trainings when their Job or folder is gone. Pure.

The cooldown counts from the last automatic training, which a history limit, a TTL or a person may
have deleted. A training that was cancelled has no Job any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dashboard.trainings.training import State, Training, Trigger
from stream_scorer.runtime.text import printable

MAX_CANCELLED: Final = 20
"""Cancelled trainings that are remembered, the newest; each has less than two kilobytes."""

_TEXT_MAX: Final = 600  # characters of any text


@dataclass(frozen=True, slots=True)
class Records:
    """The last automatic training, as it was when it started, and those that were cancelled."""

    automatic: Training | None = None
    cancelled: tuple[Training, ...] = ()

    def with_automatic(self, training: Training | None) -> Records:
        """The same with another last automatic training."""
        return replace(self, automatic=training)

    def with_cancelled(self, training: Training) -> Records:
        """The same with one more that was cancelled."""
        others = (one for one in self.cancelled if one.token != training.token)
        return replace(self, cancelled=(training, *others)[:MAX_CANCELLED])


def write_records(records: Records) -> str:
    """The records as text."""
    automatic = None if records.automatic is None else _facts(records.automatic)
    return json.dumps({"automatic": automatic, "cancelled": list(map(_facts, records.cancelled))})


def read_records(text: str) -> Records:
    """The inverse. Anyone may have written the text: what is no training is left out."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Records()
    if not isinstance(found, dict):
        return Records()
    listed = found.get("cancelled")
    cancelled = map(_read, listed[:MAX_CANCELLED] if isinstance(listed, list) else ())
    return Records(_read(found.get("automatic")), tuple(one for one in cancelled if one))


def _facts(training: Training) -> dict[str, Any]:
    return {**training.as_json(), "key": training.key, "token": training.token}


def _read(facts: Any) -> Training | None:
    try:
        ended = facts["ended_at"]
        return Training(
            _text(facts, "id"),
            State(facts["state"]),
            int(facts["started_at"]),
            Trigger(facts["trigger"]),
            _text(facts, "reason"),
            _text(facts, "by"),
            None if ended is None else int(ended),
            _text(facts, "detail"),
            _text(facts, "key"),
            _text(facts, "token"),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _text(facts: Mapping[str, Any], name: str) -> str:
    return printable(str(facts[name] or "")[:_TEXT_MAX])
