"""Faults of topics: missing, read-only, or with too small a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from stream_scorer.process.topics import MAX_BYTES, wanted_topics
from tests.chaos.feed import BAD_BYTES
from tests.chaos.world import World

Which = Literal["output", "dlq"]
FAILED: Final = 1
"""Exit code of a scorer after a fatal error, whose reason it logs."""

_MEET_SECONDS: Final = 90.0  # until a scorer meets the fault at its next such record


def _wait_for_failure(world: World, already: int) -> None:
    """Wait until another scorer has failed, or no records are left that could make it fail."""
    world.wait_until(
        lambda: FAILED in world.supervisor.exits[already:] or world.feed.is_done,
        _MEET_SECONDS,
        "scorer that fails",
    )


def _name(world: World, which: Which) -> str:
    return world.topics.output_topic if which == "output" else world.topics.dlq_topic


@dataclass(slots=True)
class ReadOnly:
    """An ACL denies writes, as after an accidental change of permissions."""

    which: Which
    hold_seconds: float = 4.0
    _exits: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return f"{self.which} read-only"

    def inject(self, world: World) -> None:
        self._exits = len(world.supervisor.exits)
        world.admin.deny_writes(_name(world, self.which))

    def heal(self, world: World) -> None:
        _wait_for_failure(world, self._exits)
        world.admin.allow_writes(_name(world, self.which))


@dataclass(slots=True)
class SmallMessages:
    """``max.message.bytes`` is lowered below the size of a batch or of a single record."""

    which: Which
    max_bytes: int
    hold_seconds: float = 6.0
    _exits: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return f"{self.which} limited to {self.max_bytes} bytes"

    def inject(self, world: World) -> None:
        self._exits = len(world.supervisor.exits)
        world.admin.set_config(_name(world, self.which), MAX_BYTES, str(self.max_bytes))

    def heal(self, world: World) -> None:
        if self.which == "dlq" and self.max_bytes < BAD_BYTES:  # a smaller batch would not help
            _wait_for_failure(world, self._exits)
        topic = _name(world, self.which)
        world.admin.set_config(topic, MAX_BYTES, world.limit_of(topic))


@dataclass(slots=True)
class Missing:
    """Topics are deleted while scorers run, and recreated.

    Their records are deleted too, so this fault is only for a world without records.
    """

    which: tuple[Which, ...] = ("output", "dlq")
    hold_seconds: float = 4.0

    @property
    def name(self) -> str:
        return f"{' and '.join(self.which)} missing"

    def inject(self, world: World) -> None:
        world.admin.delete(*(_name(world, which) for which in self.which))

    def heal(self, world: World) -> None:
        names = [_name(world, which) for which in self.which]
        wanted = wanted_topics(world.topics)
        changed = {name: wanted[name] | {MAX_BYTES: world.limit_of(name)} for name in names}
        world.admin.create(changed, world.partitions)
