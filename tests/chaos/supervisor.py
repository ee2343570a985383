"""Keeps scorers running as a Deployment does: a process that ends is restarted after a backoff."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.processes import ScorerFleet, ScorerUnderTest

_FIRST_BACKOFF_SECONDS: Final = 0.2
_LAST_BACKOFF_SECONDS: Final = 4.0  # Kubernetes uses up to 300; campaigns are short
_STABLE_SECONDS: Final = 5.0  # a process that ran this long resets the backoff
_GRACE_SECONDS: Final = 90.0
_LOOK_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Place:
    """One replica: its process, and when it may be started again."""

    scorer: ScorerUnderTest | None = None
    started: float = 0.0
    not_before: float = 0.0
    backoff: float = _FIRST_BACKOFF_SECONDS


@dataclass(slots=True)
class Supervisor:
    """The replicas of one fleet. Its owner must call :meth:`tick` often."""

    fleet: ScorerFleet
    more: dict[str, str] = field(default_factory=dict)
    """Additional environment of processes started from now on."""
    ends: list[tuple[int, Path]] = field(default_factory=list)
    """Exit codes and logs of processes that ended by themselves or by a fault."""
    largest_bytes: int = 0
    """The most memory that one of the processes had, at the last look."""
    _looked_at: float = 0.0
    _places: list[_Place] = field(default_factory=list)
    _leaving: list[ScorerUnderTest] = field(default_factory=list)

    def scale(self, replicas: int) -> None:
        """Set the number of replicas; surplus replicas get SIGTERM."""
        while len(self._places) < replicas:
            self._places.append(_Place())
        while len(self._places) > replicas:
            scorer = self._places.pop().scorer
            if scorer is not None and scorer.process.poll() is None:
                scorer.process.send_signal(signal.SIGTERM)
                self._leaving.append(scorer)
        self.tick()

    def tick(self) -> None:
        """Restart replicas that have ended."""
        now = time.monotonic()
        if now - self._looked_at > _LOOK_SECONDS:
            self._looked_at = now
            self.largest_bytes = max(
                self.largest_bytes, *(peak_bytes(s.process.pid) for s in self.running()), 0
            )
        for place in self._places:
            if place.scorer is not None and (code := place.scorer.process.poll()) is not None:
                self.ends.append((code, place.scorer.log))
                was_stable = now - place.started > _STABLE_SECONDS
                place.backoff = (
                    _FIRST_BACKOFF_SECONDS
                    if was_stable
                    else min(place.backoff * 2, _LAST_BACKOFF_SECONDS)
                )
                place.not_before = now + place.backoff
                place.scorer = None
            if place.scorer is None and now >= place.not_before:
                place.scorer = self.fleet.start(**self.more)
                place.started = now

    @property
    def exits(self) -> list[int]:
        """The exit codes of ``ends``."""
        return [code for code, _ in self.ends]

    def running(self) -> list[ScorerUnderTest]:
        """The replicas that are running now."""
        return [
            place.scorer
            for place in self._places
            if place.scorer is not None and place.scorer.process.poll() is None
        ]

    def working(self) -> list[ScorerUnderTest]:
        """The running replicas that are ready."""
        return [scorer for scorer in self.running() if scorer.readiness()["ready"]]

    @property
    def has_left(self) -> bool:
        """Whether all surplus replicas have ended."""
        return all(scorer.process.poll() is not None for scorer in self._leaving)

    def stop(self) -> list[int]:
        """Send SIGTERM to all replicas, and wait for their exit codes."""
        leaving = self._leaving + self.running()
        self._places.clear()
        for scorer in leaving:
            if scorer.process.poll() is None:
                scorer.process.send_signal(signal.SIGTERM)
        return [scorer.process.wait(_GRACE_SECONDS) for scorer in leaving]


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
