"""Checks each scored batch before its commit: a version that failed its guard commits no more."""

from __future__ import annotations

from typing import Protocol

from schemas.rejections import Stage
from stream_scorer.model.serving.guard import Trip
from stream_scorer.model.serving.probation import Probation
from stream_scorer.stream.outcome import Outcome


class Watcher(Protocol):
    """What the guard needs from the object that loads the models."""

    @property
    def probation(self) -> Probation | None:
        """The probation of the current version, while it is on probation."""
        ...

    def is_withdrawn(self, version: str) -> bool:
        """Whether a version was rejected and another one has replaced it."""
        ...

    def fall_back(self, probation: Probation, trip: Trip) -> None:
        """Roll back to the previous version."""
        ...


class ModelGuard:
    """Checks each batch before its commit. The loop's thread owns it."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._checked: Probation | None = None

    def refusal(self, outcome: Outcome) -> str | None:
        """The reason why the previous version must score this batch again; None to commit it.

        Nothing that a version scored is committed after the version was rejected. So the batch
        that reveals the problem is the first one that the previous version scores again.
        """
        version = outcome.model_version
        self._checked = None
        probation = self._watcher.probation
        if probation is not None and probation.version == version:
            errors = sum(rejection.stage is Stage.SCORE for rejection in outcome.rejections)
            trip = probation.check(outcome.scores, outcome.flagged, errors)
            if trip is None:
                self._checked = probation
                return None
            self._watcher.fall_back(probation, trip)
        if self._watcher.is_withdrawn(version):
            return f"scored by version {version}, which was rejected"
        return None

    def committed(self) -> None:
        """The batch checked last was committed."""
        if self._checked is not None:
            self._checked.accept()
