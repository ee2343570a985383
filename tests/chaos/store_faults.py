"""Faults of the artifact store, the model cache and the clock."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.faulty_proxy import Mode
from tests.chaos.world import World

_CACHES: Final = ("MODEL_CACHE_DIR", "HISTORY_CACHE_DIR")
_CACHE_SIZE: Final = "16k"  # less than any bundle
_MEET_SECONDS: Final = (
    90.0  # until a scorer meets the fault: usually at once, longer on a busy machine
)


@dataclass(slots=True)
class StoreFault:
    """The store fails while a new version is promoted and a scorer restarts."""

    mode: Mode
    hold_seconds: float = 4.0
    _requests: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return f"store {self.mode}"

    def inject(self, world: World) -> None:
        assert world.proxy is not None
        self._requests = len(world.proxy.requests)
        world.proxy.mode = self.mode
        world.promote()
        world.a_worker().kill()

    def heal(self, world: World) -> None:
        proxy = world.proxy
        assert proxy is not None
        world.wait_until(
            lambda: self.mode in proxy.requests[self._requests :],
            _MEET_SECONDS,
            f"request to a store that is {self.mode}",
        )
        proxy.mode = Mode.OK


@dataclass(slots=True)
class CacheFull:
    """A scorer starts with a cache folder that has no free space."""

    name: str = "cache full"
    hold_seconds: float = 5.0
    _started: int = field(default=0, init=False)

    def inject(self, world: World) -> None:
        folder = world.folder / "full"
        world.promote()
        full = str(world.stack.enter_context(full_folder(folder)))
        world.supervisor.more |= dict.fromkeys(_CACHES, full)
        self._started = len(world.supervisor.fleet.scorers)
        world.a_worker().kill()

    def heal(self, world: World) -> None:
        fleet = world.supervisor.fleet
        world.wait_until(
            lambda: any(scorer.readiness()["ready"] for scorer in fleet.scorers[self._started :]),
            _MEET_SECONDS,
            "scorer at work without space in its cache",
        )
        for name in _CACHES:
            del world.supervisor.more[name]


@contextmanager
def full_folder(folder: Path) -> Iterator[Path]:
    """A folder on a full disk; without the permission to mount one, a path that is not writable."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_CACHE_SIZE}", "tmpfs", str(folder)]
    with suppress(FileNotFoundError):
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            try:
                yield folder
            finally:
                subprocess.run(["umount", "-l", str(folder)], check=True)
            return
    yield Path("/dev/full/cache")


@dataclass(slots=True)
class ClockStep:
    """The wall clock of every scorer jumps."""

    seconds: float
    hold_seconds: float = 3.0
    _begun: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return f"clock {self.seconds:+.0f} s"

    def inject(self, world: World) -> None:
        (world.folder / "clock").write_text(str(self.seconds))
        self._begun = world.feed.begun

    def heal(self, world: World) -> None:
        # Wait until records written after the step are committed: the wrong clock scored them.
        world.wait_until(
            lambda: world.watch.committed() > self._begun or world.feed.is_done,
            _MEET_SECONDS,
            "commit with the wrong clock",
        )
        (world.folder / "clock").write_text("0")
