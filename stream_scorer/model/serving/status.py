"""What the watcher reports about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FallBack:
    """The promoted version is rejected, and ``serving`` scores instead (None: no version does)."""

    rejected: str
    serving: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """The watcher's state, for health pages.

    Attributes:
        checked_at: monotonic time of the last answer from the store; None before the first.
        problem: what is wrong now, if anything.
        refused: the versions that failed to load, with the reason.
        load_seconds: how long the last load took.
        rolled_back: set while an older version serves because the promoted one is rejected.
        promoted: the version that the store's pointer named last.
    """

    checked_at: float | None = None
    problem: str | None = None
    refused: Mapping[str, str] | None = None
    load_seconds: float | None = None
    rolled_back: FallBack | None = None
    promoted: str | None = None
