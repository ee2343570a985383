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
class PromotionNote:
    """What people should know of how the serving version was promoted.

    All texts are safe to print on a terminal.

    Attributes:
        version: the serving version.
        refusals: why its gate refused it; empty if it did not.
        by: who promoted it by force; None if nobody did, as far as the store records.
        reason: why.
        at: when, as ISO 8601.
    """

    version: str
    refusals: tuple[str, ...]
    by: str | None = None
    reason: str = ""
    at: str = ""

    def describe(self) -> str:
        """The note as one line."""
        refused = f"was refused by its gate ({'; '.join(self.refusals)})" if self.refusals else ""
        if self.by is None:
            return f"model {self.version} {refused}; no forced promotion is recorded"
        forced = f"was promoted by force by {self.by} at {self.at}: {self.reason}"
        return f"model {self.version} {' and '.join(filter(None, (refused, forced)))}"


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
        promotion_note: set while a version serves that its gate refused, or that was promoted by
            force.
    """

    checked_at: float | None = None
    problem: str | None = None
    refused: Mapping[str, str] | None = None
    load_seconds: float | None = None
    rolled_back: FallBack | None = None
    promoted: str | None = None
    promotion_note: PromotionNote | None = None
