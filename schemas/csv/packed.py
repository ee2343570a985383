"""Opens a file by its content: plain, gzip or zip. Unpacking is limited, so no file fills memory.

A file of transactions packs to about a tenth of its size, a file of nothing but empty cells to a
hundredth. Deflate can reach a thousandth, which only a file made for that does.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from schemas.csv.archive import (
    ZIP_FAULTS,
    choose_member,
    open_archive,
    open_member,
    reason,
    shown_name,
)
from schemas.csv.kinds import (
    GZIP_MAGIC,
    HEAD_BYTES,
    PARQUET_MAGIC,
    ZIP_MAGICS,
    describe_packed,
    describe_wrong_kind,
)
from schemas.errors import UnusableFileError

MAX_RATIO: Final = 200
"""Unpacked bytes for each packed one, above ``FREE_BYTES``."""

FREE_BYTES: Final = 64 * 1024 * 1024
"""Unpacked whatever the ratio is: small test files may be repetitive."""

Input = str | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class Content:
    """A file's table, unpacked.

    Attributes:
        stream: the bytes; for Parquet they can be read at any place.
        name: for messages, with the member of an archive.
        format: ``csv``, ``gzip``, ``zip`` or ``parquet``.
        member: the member of an archive.
    """

    stream: BinaryIO
    name: str
    format: str
    member: str | None = None


def source_name(source: Input) -> str:
    """A source's name for messages."""
    if isinstance(source, str | Path):
        return str(source)
    return str(getattr(source, "name", "the CSV"))


def needs_random_access(head: bytes) -> bool:
    """Whether a file with these first bytes is not read from its first byte to its last."""
    return head.startswith((PARQUET_MAGIC, *ZIP_MAGICS))


def open_content(source: Input, subject: str, opened: ExitStack) -> Content:
    """Open a file, whatever it is packed with; everything opened is closed with ``opened``.

    ``subject`` chooses the member of an archive with several. Reading raises ``OSError``,
    ``EOFError`` or ``zlib.error`` where a packed file is damaged.

    Raises:
        UnusableFileError: it cannot be opened, or is neither CSV nor Parquet.
    """
    name = source_name(source)
    raw = _open_raw(source, name, opened)
    head = raw.peek(HEAD_BYTES)[:HEAD_BYTES]
    if needs_random_access(head):
        if not raw.seekable():
            raise UnusableFileError(
                f"{name}: zip archives and Parquet files cannot be read from a pipe: save it as a "
                "file first"
            )
        if head.startswith(PARQUET_MAGIC):
            return Content(raw, name, "parquet")
        return _open_zip(raw, name, subject, opened)
    if head.startswith(GZIP_MAGIC):
        packed = _Counted(raw)
        plain = opened.enter_context(gzip.GzipFile(fileobj=cast("Any", packed)))
        bounded = _Bounded(name, cast("BinaryIO", plain), lambda: packed.count)
        stream = opened.enter_context(io.BufferedReader(bounded))
        _refuse_wrong_kind(stream.peek(HEAD_BYTES), name, is_packed=True)
        return Content(stream, name, "gzip")
    _refuse_wrong_kind(head, name, is_packed=False)
    return Content(raw, name, "csv")


def _open_raw(source: Input, name: str, opened: ExitStack) -> io.BufferedReader:
    if isinstance(source, str | Path):
        try:
            return opened.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise UnusableFileError(f"{name}: cannot read: {error.strerror}") from error
    raw = opened.enter_context(source)
    if isinstance(raw, io.BufferedReader):
        return raw
    return opened.enter_context(io.BufferedReader(cast("io.RawIOBase", raw)))


def _open_zip(raw: BinaryIO, name: str, subject: str, opened: ExitStack) -> Content:
    archive = opened.enter_context(open_archive(raw, name))
    info = choose_member(archive, name, subject)
    inside = f"{name} ({shown_name(info)})"
    if info.file_size > FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise UnusableFileError(_bomb(inside, info.file_size))
    member = opened.enter_context(open_member(archive, info, name))
    packed = _MemberFaults(member)
    bounded = _Bounded(inside, cast("BinaryIO", packed), lambda: info.compress_size)
    stream = opened.enter_context(io.BufferedReader(bounded))
    _refuse_wrong_kind(stream.peek(HEAD_BYTES), inside, is_packed=True)
    return Content(stream, inside, "zip", info.filename)


def _refuse_wrong_kind(head: bytes, name: str, *, is_packed: bool) -> None:
    head = head[:HEAD_BYTES]
    if is_packed and (inner := describe_packed(head)) is not None:
        raise UnusableFileError(f"{name}: {inner} inside the packed file: unpack it first")
    if (what := describe_wrong_kind(head)) is not None:
        raise UnusableFileError(f"{name}: this is {what}")


def _bomb(name: str, size: int) -> str:
    return (
        f"{name}: unpacks to {size:,} bytes or more, over {MAX_RATIO} times its packed size, which "
        "no table of transactions does: unpack it and look at it"
    )


class _Counted:
    """Passes packed bytes on and counts them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """The next packed bytes."""
        block = self._stream.read(size)
        self.count += len(block)
        return block


class _MemberFaults:
    """A member of an archive; what zipfile raises becomes an ``OSError``."""

    def __init__(self, member: BinaryIO) -> None:
        self._member = member

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        try:
            return self._member.read(size)
        except OSError:
            raise
        except ZIP_FAULTS as error:
            raise OSError(reason(error)) from error


class _Bounded(io.RawIOBase):
    """Unpacked bytes, refused once there are too many for the packed ones."""

    def __init__(self, name: str, unpacked: BinaryIO, packed_bytes: Callable[[], int]) -> None:
        super().__init__()
        self._name = name
        self._unpacked = unpacked
        self._packed_bytes = packed_bytes
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._unpacked.read(len(buffer))
        buffer[: len(block)] = block
        self._count += len(block)
        if self._count > FREE_BYTES and self._count > MAX_RATIO * self._packed_bytes():
            raise UnusableFileError(_bomb(self._name, self._count))
        return len(block)
