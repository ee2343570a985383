"""One campaign: a sequence of faults under load, then the audit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.faults import Fault, KillScorer
from tests.chaos.watch import Progress
from tests.chaos.world import Event, World

RECOVERY_SECONDS: Final = 90.0
_STEADY_SECONDS: Final = 30.0  # the first faults say little about the speed of the machine
_DRAIN_SECONDS: Final = 600.0
_START_SECONDS: Final = 120.0
_BETWEEN_KILLS_SECONDS: Final = 1.5
_LOG_TAIL_CHARACTERS: Final = 3_000


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a campaign."""

    verified: bool
    exit_code: int
    report: dict[str, Any]
    events: Sequence[Event]
    samples: Sequence[Progress]
    ends: Sequence[tuple[int, str]]
    """Exit code and end of the log of each scorer that ended by a fault or by itself."""
    leavers: Sequence[int]
    """Exit codes of the scorers that were stopped at the end."""
    tracebacks: Sequence[str]
    """Logs that contain a traceback: a scorer should log a message for the operator instead."""
    seconds: float
    begun: float
    largest_scorer_bytes: int = 0
    """The most memory that a scorer had."""

    @property
    def exits(self) -> Sequence[int]:
        """The exit codes of ``ends``."""
        return [code for code, _ in self.ends]

    def count(self, name: str) -> int:
        """How often the fault was injected."""
        return sum(event.name == name for event in self.events)


@dataclass(slots=True)
class Campaign:
    """Injects faults into a world; ``say`` receives a line of progress for each."""

    world: World
    faults: Sequence[Fault]
    members: int = 3
    before: Fault | None = None
    """A fault that is present before the first record; nothing may be committed until it is
    fixed."""
    say: Callable[[str], None] = lambda _: None
    expected_seconds: Callable[[Sequence[Fault]], float] | None = None
    """The approximate duration of faults. With it, the feed is spread over those that are left."""
    limit_seconds: float = math.inf
    """No further fault is injected after this time; what was sent is judged all the same."""
    _begun: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> Result:
        """Inject all faults, wait for the remaining outcomes, then run the audit.

        Raises:
            AssertionError: the system did not recover from a fault in time.
        """
        world = self.world
        world.supervisor.scale(self.members)
        world.watch.start()
        if self.before is None:
            world.feed.start()
        else:
            self._start_broken(self.before)
        world.wait_until(world.watch.committed, _START_SECONDS, "first commit")
        begun = time.monotonic()
        for number, fault in enumerate(self.faults, 1):
            if time.monotonic() - begun > self.limit_seconds:
                self.say(f"no time for the other {len(self.faults) - number + 1} faults")
                break
            self.say(f"{number}/{len(self.faults)} {fault.name}; {self._progress()}")
            self._do(fault)
            if self.expected_seconds is not None:
                elapsed = time.monotonic() - begun
                left = seconds_left(self.faults, number, elapsed, self.expected_seconds)
                world.feed.spread(max(1.0, min(left, self.limit_seconds - elapsed)))
        self._drain()
        self._wait_for_members()
        leavers = world.supervisor.stop()
        world.watch.stop()
        self.say("verifying")
        code, report = world.verify()
        return Result(
            verified=code == 0 and bool(report["verified"]),
            exit_code=code,
            report=report,
            events=world.events,
            samples=world.watch.samples,
            ends=[
                (code, log.read_text()[-_LOG_TAIL_CHARACTERS:])
                for code, log in world.supervisor.ends
            ],
            leavers=leavers,
            tracebacks=[
                log.name
                for log in sorted(world.folder.glob("scorer-*.log"))
                if "Traceback (most recent call last)" in log.read_text()
            ],
            seconds=time.monotonic() - self._begun,
            begun=self._begun,
            largest_scorer_bytes=world.supervisor.largest_bytes,
        )

    def _progress(self) -> str:
        samples = self.world.watch.samples
        return f"{samples[-1].committed:,} committed, lag {samples[-1].lag:,}" if samples else ""

    def _wait_for_members(self) -> None:
        world = self.world
        world.wait_until(
            lambda: len(world.supervisor.working()) == self.members,
            _START_SECONDS,
            "every member at work",
        )

    def _start_broken(self, fault: Fault) -> None:
        world = self.world
        self.say(f"from the start: {fault.name}")
        self._wait_for_members()
        begun = time.monotonic()
        fault.inject(world)
        world.feed.start()
        world.pause(fault.hold_seconds)
        assert world.watch.committed() == 0, f"batches were committed despite: {fault.name}"
        fault.heal(world)
        world.events.append(Event(fault.name, begun, time.monotonic()))

    def _do(self, fault: Fault) -> None:
        world = self.world
        begun = time.monotonic()
        fault.inject(world)
        world.pause(fault.hold_seconds)
        fault.heal(world)
        ended = time.monotonic()
        if isinstance(fault, KillScorer):
            world.events.append(Event(fault.name, begun, ended))
            world.pause(world.rng.uniform(0, _BETWEEN_KILLS_SECONDS))
            return
        before = world.watch.committed()
        world.wait_until(
            lambda: world.watch.committed() > before or self._is_drained(),
            RECOVERY_SECONDS,
            f"recovery from: {fault.name},",
        )
        world.events.append(Event(fault.name, begun, ended, time.monotonic() - ended))

    def _is_drained(self) -> bool:
        samples = self.world.watch.samples
        return self.world.feed.is_done and bool(samples) and samples[-1].lag == 0

    def _drain(self) -> None:
        self.say("no more faults: waiting for the remaining outcomes")
        world = self.world
        world.wait_until(self._is_fed, _DRAIN_SECONDS, "the end of the feed")
        world.feed.finish()
        since = time.monotonic() + 1.0  # a sample that began after the last delivery

        def is_done() -> bool:
            samples = world.watch.samples
            return bool(samples) and samples[-1].at > since and samples[-1].lag == 0

        world.wait_until(is_done, _DRAIN_SECONDS, "every record's outcome")

    def _is_fed(self) -> bool:
        self.world.feed.hurry()
        return self.world.feed.is_done


def seconds_left(
    faults: Sequence[Fault],
    done: int,
    elapsed: float,
    expected_seconds: Callable[[Sequence[Fault]], float],
) -> float:
    """How long the remaining faults take, if the machine is as slow as it was until now."""
    expected = expected_seconds(faults[:done])
    slowness = (elapsed + _STEADY_SECONDS) / (expected + _STEADY_SECONDS)
    return _STEADY_SECONDS + slowness * expected_seconds(faults[done:])
