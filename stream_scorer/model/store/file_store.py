"""The artifact store in a folder: on one machine, or on a shared file system with POSIX locks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.layout_store import LayoutStore
from stream_scorer.model.store.names import KEYS_MAX
from stream_scorer.model.store.objects import StoredObject

LOCK_TIMEOUT_SECONDS: Final = 10.0
"""The lock is held for one small write; a process that holds it this long hangs."""

LOCK_POLL_SECONDS: Final = 0.005

ABANDONED_SECONDS: Final = 24 * 3600
"""A partial file this old belongs to a writer that was killed."""

_UNFINISHED: Final = ".unfinished"
_LOCK: Final = ".lock"


class FileStore(LayoutStore):
    """The store in the folder ``root``, which the first write creates."""

    def __init__(self, root: Path) -> None:
        # Hard links and the lock are the conditions: publishing need not try them first.
        super().__init__(FileObjects(root), is_trusted=True)


class FileObjects:
    """Objects as files: written to a temporary file, synced, then linked or renamed into place.

    Compare-and-set holds between all processes that see the same lock file (``flock``).
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def where(self) -> str:
        """The folder's URI."""
        return self._root.as_uri()

    def read(
        self, key: str, max_bytes: int, known: StoredObject | None = None
    ) -> StoredObject | None:
        """See the port."""
        with self._described(key):
            found = _read_file(self._root / key, max_bytes)
        return known if known is not None and found == known else found

    def read_head(self, key: str, count: int) -> bytes | None:
        """See the port."""
        with self._described(key):
            try:
                with _open_regular(self._root / key) as file:
                    return file.read(count)
            except FileNotFoundError:
                return None

    def create(self, key: str, content: bytes) -> bool:
        """See the port: a hard link fails if the name exists, and the file appears complete."""
        target = self._root / key
        with self._described(key), self._written_aside(content) as aside:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(aside, target)
            except FileExistsError:
                return False
            self._sync_folders(target)
            return True

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        """See the port."""
        with self._described(key), self._lock():
            found = _read_file(self._root / key, None)
            if (None if found is None else found.token) != expected:
                raise StoreConflict(f"{key} in {self.where} was changed by another process")
            self._put(key, content)
            written = _read_file(self._root / key, None)
        if written is None:
            raise StoreError(f"{key} in {self.where} was removed while it was written")
        return written.token

    def overwrite(self, key: str, content: bytes) -> None:
        """See the port."""
        with self._described(key):
            self._put(key, content)

    def remove(self, key: str) -> None:
        """See the port."""
        with self._described(key):
            (self._root / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        """See the port; hidden files are not objects."""
        folder = self._root / prefix.rpartition("/")[0]
        found: list[str] = []
        with self._described(prefix):
            for parent, folders, names in os.walk(folder, onerror=_raise_unless_absent):
                folders[:] = [name for name in folders if not name.startswith(".")]
                found += [
                    (Path(parent) / name).relative_to(self._root).as_posix()
                    for name in names
                    if not name.startswith(".")
                ]
                if len(found) > KEYS_MAX:
                    raise StoreError(f"more than {KEYS_MAX} files in {folder} (MODEL_STORE_URI)")
        return [key for key in found if key.startswith(prefix)]

    def _put(self, key: str, content: bytes) -> None:
        target = self._root / key
        with self._written_aside(content) as aside:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(target)
            self._sync_folders(target)

    def _sync_folders(self, target: Path) -> None:
        """Make the new directory entry durable, and the entries of its new parent folders."""
        for folder in target.parents:
            sync_folder(folder)
            if folder == self._root:
                break

    @contextlib.contextmanager
    def _written_aside(self, content: bytes) -> Iterator[Path]:
        """A synced temporary file with ``content``, on the same file system."""
        folder = self._root / _UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        path = folder / uuid.uuid4().hex
        try:
            write_synced(path, content)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        path = self._root / _LOCK
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        # flock, not lockf: flock also excludes other threads of this process.
        with path.open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(f"another process holds the lock {path}") from None
                    time.sleep(LOCK_POLL_SECONDS)
            yield

    @contextlib.contextmanager
    def _described(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = error.filename2 or error.filename or self._root / key
            raise StoreError(f"{path}: {error.strerror or error} (MODEL_STORE_URI)") from error


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and sync it to disk; its mode follows the umask."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_file(path: Path, max_bytes: int | None) -> StoredObject | None:
    """The file and its token (digest, inode and time, so that a rewrite always changes it)."""
    try:
        with _open_regular(path) as file:
            status = os.fstat(file.fileno())
            if max_bytes is not None and status.st_size > max_bytes:
                raise StoreError(f"{path} has {status.st_size} bytes; the limit is {max_bytes}")
            content = file.read(status.st_size)
    except FileNotFoundError:
        return None
    digest = hashlib.sha256(content).hexdigest()
    return StoredObject(content, f"{digest}-{status.st_ino}-{status.st_mtime_ns}")


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; anything else is refused at once."""
    # Non-blocking: opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"
        raise StoreError(f"{path} {kind}: remove it (MODEL_STORE_URI)")
    return os.fdopen(descriptor, "rb")


def _remove_abandoned(folder: Path) -> None:
    oldest = time.time() - ABANDONED_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
