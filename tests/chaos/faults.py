"""Faults of processes: scorers and broker are killed, frozen and scaled."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.chaos.world import SESSION_SECONDS, TXN_SECONDS, World
from tests.support.processes import ScorerUnderTest

_SWEEP_SECONDS: Final = 1.0  # the broker checks for expired transactions this often
_ABORT_SECONDS: Final = 3.0  # to find and abort one: usually milliseconds, longer on a busy machine
_SCALE_SECONDS: Final = 90.0  # usually a few seconds, longer on a slow machine


class Fault(Protocol):
    """Something that breaks and is fixed again."""

    @property
    def name(self) -> str:
        """The fault's name in reports."""
        ...

    @property
    def hold_seconds(self) -> float:
        """How long the fault lasts."""
        ...

    def inject(self, world: World) -> None:
        """Cause the fault."""
        ...

    def heal(self, world: World) -> None:
        """Fix the fault."""
        ...


@dataclass(slots=True)
class KillScorer:
    """Kill -9, half of the times between publish and commit; then another scorer is started."""

    name: str = "kill"
    hold_seconds: float = 0.0

    def inject(self, world: World) -> None:
        in_txn = world.rng.random() < 0.5
        (world.stop_in_txn() if in_txn else world.a_worker()).kill()

    def heal(self, world: World) -> None:
        world.supervisor.tick()


@dataclass(slots=True)
class FreezeScorer:
    """SIGSTOP, and SIGCONT once its session, or only its transaction, has timed out.

    The scorer is then a zombie: it continues in the middle of a batch that may belong to another
    member by now.
    """

    name: str = "zombie"
    hold_seconds: float = SESSION_SECONDS + 1.5
    _frozen: ScorerUnderTest | None = field(default=None, init=False)
    _log_size: int = field(default=0, init=False)

    def inject(self, world: World) -> None:
        self._frozen = world.stop_in_txn()

    def heal(self, world: World) -> None:
        world.supervisor.tick()
        assert self._frozen is not None
        self._log_size = self._frozen.log.stat().st_size
        if self._frozen.process.poll() is None:
            self._frozen.process.send_signal(signal.SIGCONT)

    def was_fenced(self) -> bool:
        """Whether it was refused when it continued: it aborted its batch, or ended."""
        assert self._frozen is not None
        logged = self._frozen.log.read_bytes()[self._log_size :]
        return b"batch aborted" in logged or self._frozen.process.poll() not in (None, 0)


def expire_txn() -> FreezeScorer:
    """A scorer that is frozen beyond its transaction's timeout, but keeps its partitions."""
    return FreezeScorer("transaction timeout", TXN_SECONDS + _SWEEP_SECONDS + _ABORT_SECONDS)


@dataclass(slots=True)
class Scale:
    """Changes the number of members; ``heal`` restores ``usual``.

    Both wait for the members. Otherwise members on a slow machine could be stopped before they have
    started, and the fault would test nothing.
    """

    members: int
    usual: int
    hold_seconds: float = 6.0

    @property
    def name(self) -> str:
        return f"{self.members} member" + "s" * (self.members != 1)

    def inject(self, world: World) -> None:
        self._scale(world, self.members)

    def heal(self, world: World) -> None:
        self._scale(world, self.usual)

    def _scale(self, world: World, members: int) -> None:
        supervisor = world.supervisor
        supervisor.scale(members)
        world.wait_until(
            lambda: supervisor.has_left and len(supervisor.working()) == members,
            _SCALE_SECONDS,
            f"{members} members at work",
        )


@dataclass(slots=True)
class KillBroker:
    """Kill -9 of Kafka, and a restart with the same data."""

    name: str = "broker killed"
    hold_seconds: float = 1.0

    def inject(self, world: World) -> None:
        world.broker.kill()

    def heal(self, world: World) -> None:
        world.broker.restart()


@dataclass(slots=True)
class FreezeBroker:
    """SIGSTOP of Kafka: connections stay open, but no answers arrive."""

    name: str = "broker frozen"
    hold_seconds: float = TXN_SECONDS * 2

    def inject(self, world: World) -> None:
        os.kill(world.broker.pid, signal.SIGSTOP)

    def heal(self, world: World) -> None:
        os.kill(world.broker.pid, signal.SIGCONT)
