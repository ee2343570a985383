"""Faults of card histories: promotions, restores that are disturbed, snapshots that are gone."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field
from typing import Final

from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.objects import Objects
from stream_scorer.process.topics import MAX_BYTES
from tests.chaos.world import SESSION_SECONDS, World
from tests.support.processes import ScorerUnderTest

_MEET_SECONDS: Final = 90.0  # usually a few seconds, longer on a busy machine
_LOOK_SECONDS: Final = 0.01
_MAX_BYTES: Final = 10**9


@dataclass(slots=True)
class Promote:
    """Another version of the same history is promoted, or the first one with history."""

    hold_seconds: float = 0.0
    _version: str = field(default="", init=False)

    @property
    def name(self) -> str:
        return "promotion"

    def inject(self, world: World) -> None:
        self._version = world.promote()

    def heal(self, world: World) -> None:
        world.wait_until(
            lambda: all(self._version in s.metrics() for s in world.supervisor.working()),
            _MEET_SECONDS,
            f"version {self._version} in use",
        )


@dataclass(slots=True)
class KillInRestore:
    """Kill -9 of a scorer while it restores the partitions of another one that was killed."""

    name: str = "kill in a restore"
    hold_seconds: float = 0.0

    def inject(self, world: World) -> None:
        stop_in_restore(world).kill()

    def heal(self, world: World) -> None:
        world.supervisor.tick()


@dataclass(slots=True)
class FreezeInRestore:
    """SIGSTOP in a restore, and SIGCONT after the session has timed out.

    The partitions have other owners by then, who restore and score them.
    """

    hold_seconds: float = SESSION_SECONDS + 1.5
    name: str = "zombie in a restore"
    _frozen: ScorerUnderTest | None = field(default=None, init=False)

    def inject(self, world: World) -> None:
        self._frozen = stop_in_restore(world)

    def heal(self, world: World) -> None:
        world.supervisor.tick()
        assert self._frozen is not None
        if self._frozen.process.poll() is None:
            self._frozen.process.send_signal(signal.SIGCONT)


def stop_in_restore(world: World) -> ScorerUnderTest:
    """Kill a scorer, and SIGSTOP one that restores what it has left."""
    world.a_worker().kill()

    def restoring() -> ScorerUnderTest:
        found: list[ScorerUnderTest] = []

        def look() -> bool:
            world.supervisor.tick()
            found[:] = [s for s in world.supervisor.running() if world.is_at(s, "restore")]
            return bool(found)

        world.wait_until(look, _MEET_SECONDS, "restore in progress", _LOOK_SECONDS)
        return world.rng.choice(found)

    return world.stop_at(restoring, "restore")


@dataclass(slots=True)
class DamageSnapshots:
    """The newest snapshot of each partition ends in the middle, then a scorer is killed."""

    name: str = "torn snapshots"
    hold_seconds: float = 0.0

    def inject(self, world: World) -> None:
        era, histories = newest_era(world), world.models.histories
        if era is None:
            return
        for names in histories.all_snapshots(era).values():
            tear(world.models.objects, names[0].key)
        world.a_worker().kill()

    def heal(self, world: World) -> None:
        world.supervisor.tick()


@dataclass(slots=True)
class LoseSnapshots:
    """All snapshots are deleted, from the store and the local disk, then a scorer is killed."""

    name: str = "snapshots deleted"
    hold_seconds: float = 0.0

    def inject(self, world: World) -> None:
        era = newest_era(world)
        if era is None:
            return
        for names in world.models.histories.all_snapshots(era).values():
            for name in names:
                world.models.objects.remove(name.key)
        shutil.rmtree(world.folder / "history-cache", ignore_errors=True)
        world.a_worker().kill()

    def heal(self, world: World) -> None:
        world.supervisor.tick()


@dataclass(slots=True)
class Redrive:
    """The output topic accepts long keys from now on, and their dead letters are redriven."""

    name: str = "redrive"
    hold_seconds: float = 0.0

    def inject(self, world: World) -> None:
        topic = world.topics.output_topic
        world.limits.pop(topic, None)
        world.admin.set_config(topic, MAX_BYTES, world.limit_of(topic))
        world.a_worker().kill()  # the next one knows the new limit

    def heal(self, world: World) -> None:
        done = world.command("dlq", "redrive", "--stage", "publish", "--json")
        assert done.returncode == 0, done.stderr[-2000:]


@dataclass(slots=True)
class KillAll:
    """Kill -9 of every scorer at once: everything has to be restored by new ones."""

    name: str = "all killed"
    hold_seconds: float = 0.0

    _samples: int = field(default=0, init=False)

    def inject(self, world: World) -> None:
        for scorer in world.supervisor.running():
            scorer.kill()
        self._samples = len(world.watch.samples)

    def heal(self, world: World) -> None:
        samples = world.watch.samples
        world.wait_until(  # or what was committed before the kill would count as the recovery
            lambda: len(samples) > self._samples + 1, _MEET_SECONDS, "fresh samples"
        )


def tear(objects: Objects, key: str) -> None:
    """Leave the first half of an object, unless it is gone."""
    found = objects.read(key, _MAX_BYTES)
    if found is not None:
        objects.remove(key)
        objects.create(key, found.content[: len(found.content) // 2])


def newest_era(world: World) -> Era | None:
    """The era that counts; None before a scorer has begun the first."""
    assert world.history is not None
    return world.models.histories.latest_era(world.history.models.spec.fingerprint)
