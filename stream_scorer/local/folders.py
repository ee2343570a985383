"""The folder of an embedded broker: what Kafka cannot use, and why it failed there."""

from __future__ import annotations

import errno
import fcntl
import os
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


@contextmanager
def claim_folder(folder: Path) -> Iterator[int]:
    """Claim ``folder`` for one broker; yields the file descriptor that holds the claim.

    The broker's process must inherit the descriptor: the claim then lasts as long as that process,
    however it ends. Kafka's own lock comes too late: by then a second broker's controller has
    written to the metadata of the first, which may end with a damaged log.

    Raises:
        UsageError: another Kafka uses the folder.
    """
    taken = UsageError(f"another Kafka uses {folder}; stop it or use another folder")
    claim = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check_kafka_lock(folder / "data/.lock")
        except BlockingIOError:
            raise taken from None
        yield claim
    finally:
        os.close(claim)


def find_fullness(folder: Path) -> str | None:
    """That the disk of ``folder`` is full, or None."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return None
    return _describe_full(folder) if free < _FULL_BYTES else None


def _check_kafka_lock(path: Path) -> None:
    """Raise BlockingIOError if a Kafka that was started in another way holds its own lock."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as Java's FileChannel.tryLock
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):  # which of the two, POSIX leaves open
            raise BlockingIOError from error
        raise
    finally:
        os.close(lock)


def _describe_full(folder: Path) -> str:
    return f"no space is left on the disk of {folder}: free some, or use another folder"
