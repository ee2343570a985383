"""Which snapshots of a partition are no longer needed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

NEWEST_KEPT: Final = 3
"""The newest may be damaged, and the one before it ahead of an offset that was not committed."""


class Dated(NamedTuple):
    """A stored snapshot; ``created`` is None if its header cannot be read."""

    next_offset: int
    created: datetime | None


def find_expired(
    snapshots: Iterable[Dated], offset: int, today: date, keep_days: int
) -> list[Dated]:
    """The snapshots of a partition to delete.

    Kept are the newest three that can be read, the newest three up to ``offset`` (an operator may
    have moved the group's offsets back), and for ``keep_days`` days the first of each day, so that
    an audit can begin on any of them. One that cannot be read is kept as long as it is among them:
    the read may have been cut short.
    """
    newest = sorted(snapshots, reverse=True, key=lambda snapshot: snapshot.next_offset)
    kept = _newest(newest) | _newest([s for s in newest if s.next_offset <= offset])
    first_day = today - timedelta(days=keep_days)
    first_of_day = {
        snapshot.created.date(): snapshot.next_offset
        for snapshot in newest
        if snapshot.created is not None and snapshot.created.date() > first_day
    }
    kept |= set(first_of_day.values())
    return [snapshot for snapshot in newest if snapshot.next_offset not in kept]


def is_expired(snapshot: Dated, today: date, keep_days: int) -> bool:
    """Whether a snapshot of an era that ended is to be deleted."""
    first_day = today - timedelta(days=keep_days)
    return snapshot.created is None or snapshot.created.date() <= first_day


def _newest(snapshots: Sequence[Dated]) -> set[int]:
    """The offsets down to the third snapshot that can be read; newest first."""
    kept: set[int] = set()
    readable = 0
    for snapshot in snapshots:
        if readable == NEWEST_KEPT:
            break
        kept.add(snapshot.next_offset)
        readable += snapshot.created is not None
    return kept
