"""The folder of an embedded broker: what Kafka cannot use, and why it failed there."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stream_scorer.errors import UsageError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_FULL_BYTES: Final = 12 * 2**20
"""Less than this is full: Kafka allocates 10 MB for the index of a new partition."""


def check_path(folder: Path) -> None:
    """Check that Kafka's settings can name ``folder``; any language is allowed.

    Raises:
        UsageError: they cannot; the message names the character.
    """
    text = str(folder)
    for bad, name in ((",", "a comma"), ("${", "'${'"), ("\n", "a line break"), ("\r", "a CR")):
        if bad in text:
            raise UsageError(f"{text!r} has {name} in its path: Kafka needs another folder")
    if not text.isprintable():
        raise UsageError(f"{text!r} is not valid UTF-8, or has a control character in its path: "
                         "Kafka needs another folder")  # fmt: skip


@contextmanager
def using_folder(folder: Path, what: str) -> Iterator[None]:
    """Say what is wrong with ``folder`` if it cannot be written; ``what`` it is for.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UsageError(_describe_full(folder)) from error
        path = error.filename or folder
        raise UsageError(f"cannot write {what}: {path}: {error.strerror or error}") from error


@contextmanager
def explaining_full_disk(folder: Path) -> Iterator[None]:
    """Say that the disk of ``folder`` is full, if that is what goes wrong.

    Raises:
        UsageError: it is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UsageError(_describe_full(folder)) from error


def check_space(folder: Path, needed_mib: int) -> None:
    """Check that the disk of ``folder`` has some space.

    Raises:
        UsageError: it has less.
    """
    free = shutil.disk_usage(folder).free // 2**20
    if free < needed_mib:
        raise UsageError(f"{free} MiB are free on the disk of {folder}, and {needed_mib} are "
                         "needed: free some, or use another folder")  # fmt: skip


def find_fullness(folder: Path) -> str | None:
    """That the disk of ``folder`` is full, or None."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return None
    return _describe_full(folder) if free < _FULL_BYTES else None


def _describe_full(folder: Path) -> str:
    return f"no space is left on the disk of {folder}: free some, or use another folder"
