"""The newest card histories on the local disk, so that a process can start while the store is down.

::

    <HISTORY_CACHE_DIR>/0123456789abcdef/000003.json           the era, by spec
    <HISTORY_CACHE_DIR>/0123456789abcdef/000003-p00007.snap    the newest snapshot of a partition
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.features.history.codec import Snapshot, decode_snapshot, read_facts
from stream_scorer.features.history.header import HEADER_MAX_BYTES, STORED_MAX_BYTES
from stream_scorer.model.store.history_era import Era, decode_era, encode_era
from stream_scorer.model.store.history_names import ERA_MAX_BYTES, spec_folder
from stream_scorer.runtime.files import replace_file

log = logging.getLogger(__name__)

CACHE_MAX_BYTES: Final = 512 * 1024 * 1024
"""Of all snapshots in the folder, while one is written too: some three million clients. What does
not fit comes from the store."""

KEPT_SPECS: Final = 2
"""The one in use, and the previous one in case its model is promoted again."""

ABANDONED_SECONDS: Final = 3600.0
"""A partial file this old belongs to a process that was killed."""

_FOLDER: Final = re.compile(r"[0-9a-f]{16}")
_ERA: Final = re.compile(r"([0-9]{6})\.json")
_SNAPSHOT: Final = re.compile(r"([0-9]{6})-p[0-9]{5}\.snap")
_PARTIAL: Final = re.compile(r"\..+\.[0-9]+\.part")


Kept = TypeVar("Kept")


class _File(NamedTuple):
    modified: float
    size: int
    path: Path


class HistoryCache:
    """Keeps histories in ``folder``, which several processes may share.

    A cache that cannot be used causes a warning, never an error. A file that is damaged, or of
    something else, is removed.
    """

    def __init__(self, folder: Path, max_bytes: int = CACHE_MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._is_full = False

    def save_era(self, era: Era) -> None:
        """Keep the era that counts; snapshots of the spec's other eras are removed."""
        folder = self._folder_of(era.spec)
        path, content = folder / f"{era.number:06d}.json", encode_era(era)
        try:
            if self._read("the era", path, ERA_MAX_BYTES, bytes) != content:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(path, content)
            for other in folder.iterdir():
                match = _ERA.fullmatch(other.name) or _SNAPSHOT.fullmatch(other.name)
                if match and int(match[1]) != era.number:
                    other.unlink(missing_ok=True)
            self._remove_old_specs(folder)
        except OSError as error:
            self._warn(f"keep era {era.number}", error)

    def latest_era(self, spec: str) -> Era | None:
        """The era that was kept last; None if there is none."""
        folder = self._folder_of(spec)
        try:
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        except OSError as error:
            self._warn("read the era", error)
            return None
        numbers = sorted(name for name in names if _ERA.fullmatch(name))
        if not numbers:
            return None
        path = folder / numbers[-1]
        return self._read("the era", path, ERA_MAX_BYTES, lambda found: _era(found, path, spec))

    def save(self, era: Era, content: bytes) -> None:
        """Keep a snapshot as the newest of its partition."""
        partition = read_facts(content[:HEADER_MAX_BYTES], "the new snapshot").header.partition
        path = self._path(era, partition)
        try:
            if len(content) > self._max_bytes:
                raise OSError(f"it has {len(content)} bytes; the limit is {self._max_bytes}")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(content), path)
            replace_file(path, content)
        except OSError as error:
            self._warn(f"keep the history of partition {partition}", error)

    def load(
        self, era: Era, partition: int, at_most: int, widths: Mapping[str, int]
    ) -> Snapshot | None:
        """The kept snapshot of a partition; None if there is none up to that offset.

        Args:
            era: to which it must belong.
            partition: of the input topic.
            at_most: the offset from which the history goes on.
            widths: the words of a record by key space, in the order of the spec.
        """
        path = self._path(era, partition)

        def decode(content: bytes) -> Snapshot:
            snapshot = decode_snapshot(content, str(path), widths, era.max_keys)
            era.check(snapshot.header, partition, str(path))
            return snapshot

        found = self._read(f"the history of partition {partition}", path, STORED_MAX_BYTES, decode)
        return found if found is None or found.header.next_offset <= at_most else None

    def _folder_of(self, spec: str) -> Path:
        return self._folder / spec_folder(spec)

    def _path(self, era: Era, partition: int) -> Path:
        return self._folder_of(era.spec) / f"{era.number:06d}-p{partition:05d}.snap"

    def _make_room(self, size: int, path: Path) -> None:
        """Remove snapshots until ``size`` bytes fit: the one to be replaced, then the oldest."""
        files = list(self._files())
        used = sum(file.size for file in files)
        removable = [file for file in files if _SNAPSHOT.fullmatch(file.path.name)]
        for file in sorted(removable, key=lambda file: (file.path != path, file.modified)):
            if used + size <= self._max_bytes:
                break
            if file.path != path and not self._is_full:
                self._is_full = True  # said once: it happens again at each snapshot
                log.warning(
                    "the histories do not fit into the cache %s of %d bytes; if the store is down, "
                    "a start waits for those that were removed",
                    self._folder,
                    self._max_bytes,
                )
            file.path.unlink(missing_ok=True)
            used -= file.size

    def _files(self) -> Iterator[_File]:
        """Snapshots and partial files; abandoned ones are removed."""
        oldest = time.time() - ABANDONED_SECONDS
        for folder in self._spec_folders():
            for path in folder.iterdir():
                is_partial = _PARTIAL.fullmatch(path.name) is not None
                if not is_partial and not _SNAPSHOT.fullmatch(path.name):
                    continue
                try:
                    status = path.lstat()
                except FileNotFoundError:  # another process removed or renamed it
                    continue
                if is_partial and status.st_mtime < oldest:
                    path.unlink(missing_ok=True)
                else:
                    yield _File(status.st_mtime, status.st_size, path)

    def _spec_folders(self) -> list[Path]:
        return [
            path
            for path in self._folder.iterdir()
            if _FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        ]

    def _remove_old_specs(self, used: Path) -> None:
        others = [path for path in self._spec_folders() if path != used]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT_SPECS - 1 :]:
            shutil.rmtree(path, ignore_errors=True)

    def _read(
        self, what: str, path: Path, max_bytes: int, decode: Callable[[bytes], Kept]
    ) -> Kept | None:
        """What a file holds; None if there is none that can be used."""
        try:
            content = _read(path, max_bytes)
            return None if content is None else decode(content)
        except ArtifactCorrupt as error:
            log.warning("%s; it is removed from the cache", error)
            with suppress(OSError):
                path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"read {what}", error)
        return None

    def _warn(self, failed: str, error: OSError) -> None:
        why = error.strerror or error
        log.warning("could not %s in %s: %s (HISTORY_CACHE_DIR)", failed, self._folder, why)


def _era(content: bytes, path: Path, spec: str) -> Era:
    era = decode_era(content, str(path))
    if era.spec != spec or f"{era.number:06d}.json" != path.name:
        raise ArtifactCorrupt(f"{path} is era {era.number} of spec {era.spec[:16]}")
    return era


def _read(path: Path, max_bytes: int) -> bytes | None:
    """A regular file; None if it does not exist.

    Raises:
        ArtifactCorrupt: it is something else, or too large.
        OSError: it cannot be read.
    """
    try:
        # Non-blocking: opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
        os.close(descriptor)
        raise ArtifactCorrupt(f"{path} is not a file of at most {max_bytes} bytes")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(status.st_size)
