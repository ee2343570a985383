"""What the loop's thread asks of the restore thread, and what it gets back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from stream_scorer.errors import ScorerError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.state.restore import PartitionState, Restored


@dataclass(slots=True, eq=False)
class RestoreRequest:
    """A partition to restore; without an era, only its committed offset is wanted.

    The loop's thread owns everything but ``problem``, which the restore thread sets.

    Attributes:
        partition: the partition.
        assignment: the assignment that it is for.
        spec: the features.
        era: where histories begin.
        prepared: a state to begin with.
        is_abandoned: the result is no longer wanted.
        problem: why the last attempt failed; it is repeated.
        since: monotonic seconds.
    """

    partition: int
    assignment: int
    spec: HistorySpec | None = None
    era: Era | None = None
    prepared: PartitionState | None = None
    is_abandoned: bool = False
    problem: str | None = None
    since: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Since the request was made."""
        return time.monotonic() - self.since


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The end of a request.

    Attributes:
        request: the request.
        offset: where the partition has to be read.
        restored: the state there; None if none was wanted.
        error: why there is no result, if repeating the request cannot help.
    """

    request: RestoreRequest
    offset: int = 0
    restored: Restored | None = None
    error: ScorerError | None = None
