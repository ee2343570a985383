"""Opens the files of a run, wherever they are, and digests their bytes.

A CSV is read once, from its first byte to its last. Zip archives and Parquet files are read out of
order: an object of a bucket is copied to a temporary file for that, in the pass
that digests it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Self, cast

from schemas.csv.kinds import HEAD_BYTES
from schemas.csv.packed import needs_random_access
from stream_scorer.errors import UsageError
from stream_scorer.runtime.s3 import local_path, open_stream
from stream_scorer.runtime.settings import StoreSettings

Advance = Callable[[int], None]
"""Called with the number of bytes or rows just processed."""

_BLOCK_BYTES: Final = 1024 * 1024


def file_size(uri: str, settings: StoreSettings | None) -> int | None:
    """The size in bytes; None for a pipe, which is not opened.

    Raises:
        UsageError: there is no such file or object.
    """
    path = local_path(uri)
    if path is None:
        with open_stream(uri, settings) as stream:
            return stream.seek(0, io.SEEK_END)
    try:
        found = path.stat()
    except OSError as error:
        raise UsageError(f"cannot read {uri}: {error.strerror}") from error
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@dataclass(slots=True)
class DigestedFiles:
    """Files of one run. Leaving the context closes what is still open.

    Attributes:
        settings: how to reach buckets; None: as the environment says.
        advance: called with the bytes that were read.
        digests: URI → sha256 of all bytes, once a file was read to its end.
    """

    settings: StoreSettings | None
    advance: Advance
    digests: dict[str, str] = field(default_factory=dict)
    _opened: ExitStack = field(default_factory=ExitStack)
    _at_any_place: dict[str, tuple[BinaryIO, bool]] = field(default_factory=dict)
    _versions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def open(self, uri: str) -> BinaryIO:
        """The bytes from the first one on; a zip archive or Parquet file can be read at any place.

        Raises:
            UsageError: it cannot be read, or not copied.
        """
        if uri not in self._at_any_place:
            raw = self._opened.enter_context(
                cast("io.BufferedReader", open_stream(uri, self.settings))
            )
            try:
                head = raw.peek(HEAD_BYTES)[:HEAD_BYTES]
            except OSError as error:
                raise UsageError(f"cannot read {uri}: {error.strerror}") from error
            if not needs_random_access(head):
                return io.BufferedReader(_Digested(uri, raw, self.advance, self._finished(uri)))
            self._at_any_place[uri] = self._digest(uri, raw)
        stream, was_counted = self._at_any_place[uri]
        advance = (lambda _: None) if was_counted else self.advance
        return io.BufferedReader(_AtAnyPlace(uri, stream.fileno(), advance))

    def check_unchanged(self) -> None:
        """Refuse a file that changed between its digest and its last row.

        Raises:
            UsageError: a file changed.
        """
        for uri, (stream, _) in self._at_any_place.items():
            if _version(stream) != self._versions[uri]:
                raise UsageError(f"{uri} was changed while it was read: start again")

    def _finished(self, uri: str) -> Callable[[str], None]:
        def finished(digest: str) -> None:
            self.digests[uri] = digest

        return finished

    def _digest(self, uri: str, raw: io.BufferedReader) -> tuple[BinaryIO, bool]:
        """Digest a file, and copy it if it is not one of this machine; whether it was counted."""
        is_local = local_path(uri) is not None and raw.seekable()
        digest = hashlib.sha256()
        if is_local:
            self._versions[uri] = _version(raw)
            for block in iter(lambda: raw.read(_BLOCK_BYTES), b""):
                digest.update(block)
            stream: BinaryIO = raw
        else:
            stream = self._copy(uri, raw, digest.update)
            self._versions[uri] = _version(stream)
        self.digests[uri] = digest.hexdigest()
        return stream, not is_local

    def _copy(self, uri: str, raw: BinaryIO, update: Callable[[bytes], None]) -> BinaryIO:
        folder = tempfile.gettempdir()
        wanted = file_size(uri, self.settings)
        if wanted is not None and wanted > shutil.disk_usage(folder).free:
            raise UsageError(
                f"cannot copy {uri} ({wanted:,} bytes) to {folder}: not enough space there; set "
                "TMPDIR to a folder with more"
            )
        stream = self._opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the stack
        try:
            for block in iter(lambda: raw.read(_BLOCK_BYTES), b""):
                update(block)
                stream.write(block)
                self.advance(len(block))
            stream.flush()
        except OSError as error:
            raise UsageError(
                f"cannot copy {uri} to {folder}: {error.strerror}; set TMPDIR to another folder"
            ) from error
        return cast("BinaryIO", stream)


def _version(stream: BinaryIO) -> tuple[int, int]:
    found = os.fstat(stream.fileno())
    return found.st_size, found.st_mtime_ns


class _Digested(io.RawIOBase):
    """Wraps a stream; counts and digests its bytes as they are read."""

    def __init__(
        self, name: str, raw: BinaryIO, advance: Advance, finished: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.name = name
        self._raw = raw
        self._advance = advance
        self._finished = finished
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._raw.read(len(buffer))
        buffer[: len(block)] = block
        self._digest.update(block)
        self._advance(len(block))
        if not block:
            self._finished(self._digest.hexdigest())
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _AtAnyPlace(io.RawIOBase):
    """A file with a position of its own, so that two readers of one file do not move each other."""

    def __init__(self, name: str, descriptor: int, advance: Advance) -> None:
        super().__init__()
        self.name = name
        self._descriptor = descriptor
        self._advance = advance
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = os.fstat(self._descriptor).st_size
        at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence] + offset
        if at < 0:
            raise OSError(f"position {at} is before the start")
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        block = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(block)] = block
        self._at += len(block)
        self._advance(len(block))
        return len(block)
