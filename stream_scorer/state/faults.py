"""Why the history of a partition cannot be restored."""

from __future__ import annotations

from typing import Final

from stream_scorer.errors import ScorerError

MISMATCH_RUNBOOK: Final = "HistoryMismatch"


class HistoryGap(ScorerError):
    """Inputs that the history needs are not retained any more.

    Attributes:
        needed: the first offset that is needed.
        first: the first one that is left.
    """

    def __init__(self, partition: int, needed: int, first: int, topic: str) -> None:
        super().__init__(
            f"history of partition {partition} needs inputs from offset {needed}, and the topic "
            f"{topic} begins at {first}: begin a new era with `stream-scorer history build`, or "
            "set HISTORY_ON_GAP=continue to go on with what is known"
        )
        self.partition = partition
        self.needed = needed
        self.first = first


class HistoryMismatch(ScorerError):
    """The recomputed state is not the one that scores were made with."""


class NewerEra(ScorerError):
    """Another scorer has committed offsets with a later era; this one has to look for it."""


class RestoreAbandoned(Exception):
    """The partition has left meanwhile."""
