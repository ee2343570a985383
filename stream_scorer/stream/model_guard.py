"""Stands between scoring and committing: a version that misbehaves commits no more."""

from __future__ import annotations

from typing import Protocol

from schemas.rejections import Stage
from stream_scorer.model.serving.guard import Trip
from stream_scorer.model.serving.probation import Probation
from stream_scorer.stream.outcome import Outcome


class Watcher(Protocol):
    """What the guard needs of whoever loads the models."""

    @property
    def probation(self) -> Probation | None:
        """The probation of the version that serves, while there is one."""
        ...

    def is_withdrawn(self, version: str) -> bool:
        """Whether a version was rejected and another one scores by now."""
        ...

    def fall_back(self, probation: Probation, trip: Trip) -> None:
        """Serve the version before."""
        ...


class ModelGuard:
    """Looks at each batch before its commit; belongs to the loop's thread."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._looked_at: Probation | None = None

    def refusal(self, outcome: Outcome) -> str | None:
        """Why this batch must not be committed but scored again, by the version before.

        Nothing a version scored is committed after it was rejected, so the batch that shows what
        is wrong with it is the first that its successor scores again.
        """
        version = outcome.model_version
        self._looked_at = None
        probation = self._watcher.probation
        if probation is not None and probation.version == version:
            errors = sum(rejection.stage is Stage.SCORE for rejection in outcome.rejections)
            trip = probation.check(outcome.scores, outcome.flagged, errors)
            if trip is None:
                self._looked_at = probation
                return None
            self._watcher.fall_back(probation, trip)
        if self._watcher.is_withdrawn(version):
            return f"scored by version {version}, which is rejected"
        return None

    def committed(self) -> None:
        """The batch looked at last was committed."""
        if self._looked_at is not None:
            self._looked_at.accept()
