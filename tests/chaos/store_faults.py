"""Faults of the model's way to the scorer, and of the clock."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.faulty_proxy import Mode
from tests.chaos.world import World

_CACHE_SIZE: Final = "16k"  # less than any bundle


@dataclass(slots=True)
class StoreFault:
    """The store misbehaves just when a new version is promoted and a scorer starts anew."""

    mode: Mode
    hold_seconds: float = 4.0

    @property
    def name(self) -> str:
        return f"store {self.mode}"

    def inject(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.mode = self.mode
        world.promote()
        world.a_worker().kill()

    def heal(self, world: World) -> None:
        assert world.proxy is not None
        world.proxy.mode = Mode.OK


@dataclass(slots=True)
class CacheFull:
    """A scorer starts with a cache folder that has no room."""

    name: str = "cache full"
    hold_seconds: float = 5.0

    def inject(self, world: World) -> None:
        folder = world.folder / "full"
        world.promote()
        world.supervisor.more["MODEL_CACHE_DIR"] = str(world.stack.enter_context(no_room(folder)))
        world.a_worker().kill()

    def heal(self, world: World) -> None:
        del world.supervisor.more["MODEL_CACHE_DIR"]


@contextmanager
def no_room(folder: Path) -> Iterator[Path]:
    """A folder on a full disk; where nobody may mount one, a path that cannot be written."""
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

    @property
    def name(self) -> str:
        return f"clock {self.seconds:+.0f} s"

    def inject(self, world: World) -> None:
        (world.folder / "clock").write_text(str(self.seconds))

    def heal(self, world: World) -> None:
        (world.folder / "clock").write_text("0")
