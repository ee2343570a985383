"""A memory cgroup of its own for the processes of a test, where this user may create one."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.shadow.limits import CGROUP
from tests.support.waiting import wait_until

_END_SECONDS: Final = 10.0


class NoMemoryCgroup(Exception):
    """No memory cgroup can be created here; the message says why."""


@dataclass(frozen=True)
class MemoryCgroup:
    """A memory cgroup.

    Attributes:
        folder: its own.
        is_v2: its version.
    """

    folder: Path
    is_v2: bool

    def show_as_container(self, root: Path) -> None:
        """Make ``root`` what ``/sys/fs/cgroup`` is in a container that is limited by this one."""
        if self.is_v2:
            root.symlink_to(self.folder)
        else:
            root.mkdir()
            (root / "memory").symlink_to(self.folder)

    def command(self, *words: str) -> Sequence[str]:
        """The command line that runs these words in it."""
        return ("/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', f"{self._processes}", *words)

    def kills(self) -> int:
        """How many processes the kernel has ended, because its memory was used up."""
        counts = (
            self.folder / ("memory.events" if self.is_v2 else "memory.oom_control")
        ).read_text()
        (found,) = (line for line in counts.splitlines() if line.startswith("oom_kill "))
        return int(found.split()[1])

    def peak(self) -> int:
        """The most memory that its processes have had together, in bytes."""
        name = "memory.peak" if self.is_v2 else "memory.max_usage_in_bytes"
        return int((self.folder / name).read_text())

    @property
    def _processes(self) -> Path:
        return self.folder / "cgroup.procs"

    def end(self) -> None:
        """End what still runs in it, and remove it."""

        def is_removed() -> bool:
            for pid in self._processes.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self.folder.rmdir()
            return True

        wait_until(is_removed, _END_SECONDS, what=f"{self.folder} to be removed")


@contextmanager
def limit_memory_to(size: int, cgroup: Path = CGROUP) -> Iterator[MemoryCgroup]:
    """A cgroup with a limit of ``size`` bytes and no swap, for the duration of the block.

    Raises:
        NoMemoryCgroup: with the reason.
    """
    is_v2 = (cgroup / "cgroup.controllers").exists()
    parent = cgroup if is_v2 else cgroup / "memory"
    if is_v2 and "memory" not in (cgroup / "cgroup.subtree_control").read_text().split():
        raise NoMemoryCgroup(f"{cgroup} gives no memory controller to new cgroups")
    made = MemoryCgroup(parent / f"stream-scorer-test-{secrets.token_hex(4)}", is_v2)
    limit, swap, total = (
        ("memory.max", "memory.swap.max", 0)
        if is_v2
        else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", size)
    )
    try:
        made.folder.mkdir()
    except OSError as error:
        raise NoMemoryCgroup(f"no memory cgroup can be created: {error}") from error
    try:
        try:
            (made.folder / limit).write_text(f"{size}\n")
            if (made.folder / swap).exists():  # only kernels that account for swap have it
                (made.folder / swap).write_text(f"{total}\n")
        except OSError as error:
            raise NoMemoryCgroup(f"no memory cgroup can be limited: {error}") from error
        yield made
    finally:
        made.end()
