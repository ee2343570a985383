"""Zip archives: which member is read, and what is refused. Nothing is ever written to disk."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, Final, cast

from schemas.errors import UnusableFileError
from schemas.text import one_line

MAX_DIRECTORY_BYTES: Final = 1024 * 1024
"""The list of members; each takes at least 46 bytes. The competition's archive has five members."""

_ENCRYPTED: Final = 0x1
_SHOWN_MEMBERS: Final = 8
_SHOWN_CHARS: Final = 60
_REASON_CHARS: Final = 150
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others have no limit to how much one read unpacks."""

ZIP_FAULTS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # a newer version of the format
    RuntimeError,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
)
"""What the zipfile module raises for damaged archives."""


def open_archive(stream: BinaryIO, name: str) -> zipfile.ZipFile:
    """Open an archive whose list of members is small enough to read.

    Raises:
        UnusableFileError: it is damaged, or lists too many members.
    """
    limited = _LimitedReads(stream, name)
    try:
        archive = zipfile.ZipFile(cast("BinaryIO", limited))
    except ZIP_FAULTS as error:
        raise UnusableFileError(f"{name}: damaged zip archive: {reason(error)}") from error
    limited.is_limited = False
    return archive


class _LimitedReads:
    """A stream for zipfile, which reads the list of members at once, however long it says it is."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._size = stream.seek(0, io.SEEK_END)
        self.is_limited = True

    def read(self, size: int = -1) -> bytes:
        """As the stream's, within the limit."""
        left = max(0, self._size - self._stream.tell())
        if self.is_limited and (left if size < 0 else min(size, left)) > MAX_DIRECTORY_BYTES:
            raise UnusableFileError(
                f"{self._name}: the zip archive lists too many members (more than "
                f"{MAX_DIRECTORY_BYTES:,} bytes of names): pack the CSV file alone"
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As the stream's."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As the stream's."""
        return self._stream.tell()

    def seekable(self) -> bool:
        """Always."""
        return True


def choose_member(archive: zipfile.ZipFile, name: str, subject: str) -> zipfile.ZipInfo:
    """The member that holds the table.

    That is the only CSV, else ``train_<subject>.csv``, else the only one with ``subject`` in its
    name; an archive with one member holds it under any name.

    Raises:
        UnusableFileError: there is none, there are several, or it cannot be read; the message
            lists the members.
    """
    members = [info for info in archive.infolist() if not _is_clutter(info)]
    names = {info.filename for info in members}
    if "[Content_Types].xml" in names or {"mimetype", "content.xml"} <= names:
        is_excel = any(member.startswith("xl/") for member in names)
        what = "an Excel workbook (.xlsx)" if is_excel else "an Office document"
        raise UnusableFileError(f"{name}: {what}: save it as CSV in UTF-8 and use that file")
    tables = [info for info in members if info.filename.lower().endswith(".csv")]
    found = tables or (members if len(members) == 1 else [])
    if len(found) > 1:
        found = _alike(found, subject)
    if len(found) != 1:
        raise UnusableFileError(f"{name}: {_no_choice(members, tables, subject)}")
    _check_member(found[0], name)
    return found[0]


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> BinaryIO:
    """A member's unpacked bytes.

    Raises:
        UnusableFileError: its header is damaged.
    """
    try:
        return cast("BinaryIO", archive.open(info))
    except ZIP_FAULTS as error:
        raise UnusableFileError(f"{name}: damaged zip archive: {reason(error)}") from error


def shown_name(info: zipfile.ZipInfo) -> str:
    """A member's name for messages; it may hold anything."""
    return one_line(info.filename[:_SHOWN_CHARS])


def _alike(tables: Sequence[zipfile.ZipInfo], subject: str) -> list[zipfile.ZipInfo]:
    by_name = {info: PurePosixPath(info.filename).name.lower() for info in tables}
    exact = [info for info, base in by_name.items() if base == f"train_{subject}.csv"]
    return exact or [info for info, base in by_name.items() if subject in base]


def _no_choice(
    members: Sequence[zipfile.ZipInfo], tables: Sequence[zipfile.ZipInfo], subject: str
) -> str:
    shown = ", ".join(shown_name(info) for info in members[:_SHOWN_MEMBERS])
    more = f" and {len(members) - _SHOWN_MEMBERS} more" if len(members) > _SHOWN_MEMBERS else ""
    if not members:
        return "the zip archive is empty"
    if not tables:
        return f"the zip archive has no CSV file; its members are: {shown}{more}"
    return (
        f"the zip archive has {len(tables)} CSV files, and which one is meant is not clear: name "
        f"one of them train_{subject}.csv, or unpack it and use it alone. Members: {shown}{more}"
    )


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    fault = None
    if info.flag_bits & _ENCRYPTED:
        fault = "is encrypted: unpack the archive with its password first"
    elif info.compress_type not in _METHODS:
        method = zipfile.compressor_names.get(info.compress_type, "an unknown method")  # type: ignore[attr-defined]  # typeshed lacks it
        fault = f"is packed with {method}: pack it with deflate, as zip programs do by default"
    if fault is not None:
        raise UnusableFileError(f"{name}: member {shown_name(info)} {fault}")


def _is_clutter(info: zipfile.ZipInfo) -> bool:
    """Folders, and what macOS adds."""
    path = PurePosixPath(info.filename)
    is_folder = info.filename.endswith("/")  # is_dir() fails for an empty name
    return is_folder or "__MACOSX" in path.parts or path.name in (".DS_Store", "")


def reason(error: Exception) -> str:
    """A fault of zipfile for messages; some quote a part of the file."""
    return one_line((str(error) or type(error).__name__)[:_REASON_CHARS])
