"""The history of promotions, and which version a rollback goes back to.

Every promotion is recorded before the pointer moves, so every version that served is in the
history. If the pointer's move then fails, at most a record remains that no other record refers to.
The rollback path starts at the pointer: the last record of its version names the previous version,
and so on. A rollback removes the version it left from the path, so the path never returns to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.model.store.names import is_version
from stream_scorer.runtime.text import printable

REASON_MAX_CHARACTERS: Final = 500
_BY_MAX_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class Override:
    """Who overrode a check, and why: the gate's refusal, or a scorer's rejection."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """One move of the pointer; ``previous`` is None where there was no pointer.

    ``by`` and ``reason`` say who promoted by force, and why. Texts are short, and safe to print.
    """

    version: str
    previous: str | None
    is_rollback: bool = False
    at: str = ""
    host: str = ""
    is_forced: bool = False
    by: str = ""
    reason: str = ""

    @property
    def override(self) -> Override | None:
        """Who overrode a check with this promotion; None if nobody did."""
        return Override(self.by, self.reason) if self.is_forced else None


def parse_promotion(record: Mapping[str, Any]) -> Promotion | None:
    """The promotion in a record; None if the record is not valid."""
    version, previous = record.get("version"), record.get("previous")
    if not isinstance(version, str) or not is_version(version):
        return None
    if previous is not None and not (isinstance(previous, str) and is_version(previous)):
        return None
    is_rollback = record.get("is_rollback") is True
    at, host = str(record.get("at", ""))[:40], str(record.get("host", ""))[:100]
    is_forced = record.get("forced") is True
    by, reason = (str(record.get(key, "")) if is_forced else "" for key in ("by", "reason"))
    return Promotion(
        version,
        previous,
        is_rollback,
        at,
        host,
        is_forced,
        printable(by[:_BY_MAX_CHARACTERS]),
        printable(reason[:REASON_MAX_CHARACTERS]),
    )


def last_promotion(promotions: Sequence[Promotion], version: str) -> Promotion | None:
    """The last promotion of ``version``; None if it is not among them, which are in order."""
    return next((p for p in reversed(promotions) if p.version == version), None)


def predecessors(promotions: Sequence[Promotion], version: str) -> list[str]:
    """The versions that were promoted before ``version``, the last one first.

    ``promotions`` are in order. If ``version`` is not among them (the pointer was written by
    hand), the result starts with the version promoted last.
    """
    if not promotions:
        return []
    path: list[str] = []
    for promotion in reversed(_that_led_to(promotions, version)):
        if promotion.previous is not None and not path:
            path.append(promotion.previous)
        if promotion.is_rollback and promotion.version in path:
            while path[-1] != promotion.version:
                path.pop()
        else:
            path.append(promotion.version)
    return [found for found in _distinct(reversed(path)) if found != version]


def _that_led_to(promotions: Sequence[Promotion], version: str) -> list[Promotion]:
    """The promotions that led to ``version``, newest first."""
    is_recorded = any(promotion.version == version for promotion in promotions)
    wanted: str | None = version if is_recorded else promotions[-1].version
    led: list[Promotion] = []
    for promotion in reversed(promotions):
        if promotion.version == wanted:
            led.append(promotion)
            wanted = promotion.previous
    return led


def _distinct(versions: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(versions))
