"""The last good bundles on the local disk, so that a process can start while the store is down."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from stream_scorer.model.store.file_store import sync_folder, write_synced
from stream_scorer.model.store.names import REQUIRED_FILES, SIGNATURE, is_version, size_limit

log = logging.getLogger(__name__)

KEPT_VERSIONS: Final = 2
"""The last good version, and the previous one in case the last is damaged."""

SAVE_ATTEMPTS: Final = 5
"""Processes that share the folder may pick the same sequence number at the same time."""

_UNFINISHED: Final = ".unfinished-"
_ENTRY = re.compile(r"([0-9]{8,200})-(v[0-9]+)")
"""The sequence may grow: a stray entry with a large number must not hide later ones."""


class BundleCache:
    """Keeps bundles in ``folder``. A cache that cannot be used causes a warning, never an error.

    An entry is a folder ``<sequence>-<version>`` that appears complete, by a rename. The sequence,
    not the version, orders the entries, because a rollback serves an older version again. The
    caller verifies an entry like a bundle from the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, version: str, files: Mapping[str, bytes]) -> None:
        """Store ``version`` as the last good bundle; keep one older version, remove the others."""
        try:
            entries = self._entries()
            if not entries or not _holds(entries[0], version, files):
                self._write(version, files)
            self._remove_old()
        except OSError as error:
            log.warning(
                "could not cache bundle %s in %s: %s",
                version,
                self._folder,
                error.strerror or error,
            )

    def forget(self, version: str) -> None:
        """Remove ``version``, so that a process started while the store is down cannot serve it."""
        try:
            for entry in self._entries():
                if _version(entry) == version:
                    log.info("removing bundle %s from the cache %s", version, self._folder)
                    shutil.rmtree(entry)
        except OSError as error:
            log.warning(
                "could not remove bundle %s from the cache %s: %s",
                version,
                self._folder,
                error.strerror or error,
            )

    def load(self) -> tuple[str, dict[str, bytes]] | None:
        """The version and files of the last good bundle, or None."""
        return next(self.candidates(), None)

    def candidates(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """The cached bundles that can be read, newest first."""
        try:
            entries = self._entries()
        except OSError as error:
            log.warning(
                "cannot read the bundle cache %s: %s", self._folder, error.strerror or error
            )
            return
        for entry in entries:
            try:
                files = _read(entry)
            except OSError as error:
                log.warning("cannot read the cached bundle %s: %s", entry, error.strerror or error)
                continue
            yield _version(entry), files

    def _entries(self) -> list[Path]:
        """Newest first."""
        if not self._folder.is_dir():
            return []
        found = [
            path
            for path in self._folder.iterdir()
            if (match := _ENTRY.fullmatch(path.name))
            and is_version(match[2])
            and path.is_dir()
            and not path.is_symlink()
        ]
        return sorted(found, key=_sequence, reverse=True)

    def _write(self, version: str, files: Mapping[str, bytes]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            aside.mkdir()
            for name, content in files.items():
                write_synced(aside / name, content)
            sync_folder(aside)
            self._rename(aside, version)
            sync_folder(self._folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _rename(self, aside: Path, version: str) -> None:
        for attempt in range(SAVE_ATTEMPTS):
            entries = self._entries()
            sequence = 1 + max(map(_sequence, entries), default=0)
            try:
                aside.rename(self._folder / f"{sequence:08d}-{version}")
            except OSError:  # another process took the name: a folder with files is not replaced
                if attempt == SAVE_ATTEMPTS - 1:
                    raise
            else:
                return

    def _remove_old(self) -> None:
        """Keep the newest entry of each kept version: two processes may save the same version."""
        kept: set[str] = set()
        for entry in self._entries():
            is_complete = all((entry / name).is_file() for name in REQUIRED_FILES)
            if _version(entry) in kept or len(kept) == KEPT_VERSIONS or not is_complete:
                shutil.rmtree(entry, ignore_errors=True)
            else:
                kept.add(_version(entry))


def _sequence(entry: Path) -> int:
    return int(entry.name.partition("-")[0])


def _version(entry: Path) -> str:
    return entry.name.partition("-")[2]


def _read(entry: Path) -> dict[str, bytes]:
    """The files of an entry.

    Raises:
        OSError: a file is missing, too large or unreadable.
    """
    files: dict[str, bytes] = {}
    for name in (*REQUIRED_FILES, SIGNATURE):
        path = entry / name
        if name == SIGNATURE and not path.exists():
            continue
        if path.stat().st_size > size_limit(name):
            raise OSError(f"{name} is larger than {size_limit(name)} bytes")
        files[name] = path.read_bytes()
    return files


def _holds(entry: Path, version: str, files: Mapping[str, bytes]) -> bool:
    try:
        return _version(entry) == version and _read(entry) == dict(files)
    except OSError:
        return False
