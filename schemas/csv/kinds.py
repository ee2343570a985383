"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 512
"""Read to recognise a file; a tar archive says so at byte 257."""

GZIP_MAGIC: Final = b"\x1f\x8b"
PARQUET_MAGIC: Final = b"PAR1"
ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

_AS_CSV: Final = "save it as CSV in UTF-8 and use that file"
_UNPACK: Final = "unpack it first"

_BY_MAGIC: Final = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Excel workbook (.xls): {_AS_CSV}"),
    (b"\xff\xfe\x00\x00", f"UTF-32 text: {_AS_CSV}"),
    (b"\x00\x00\xfe\xff", f"UTF-32 text: {_AS_CSV}"),
    (b"\xff\xfe", f"UTF-16 text: {_AS_CSV}"),
    (b"\xfe\xff", f"UTF-16 text: {_AS_CSV}"),
    (b"BZh", f"packed with bzip2: {_UNPACK}"),
    (b"\xfd7zXZ\x00", f"packed with xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"packed with zstd: {_UNPACK}"),
    (b"\x04\x22\x4d\x18", f"packed with lz4: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a RAR archive: {_UNPACK}"),
    (b"ARROW1", f"an Arrow (Feather) file: {_AS_CSV}, or write it as Parquet"),
    (b"ORC", f"an ORC file: {_AS_CSV}, or write it as Parquet"),
    (b"\x89HDF\r\n\x1a\n", f"an HDF5 file: {_AS_CSV}, or write it as Parquet"),
    (b"SQLite format 3\x00", f"an SQLite database: {_AS_CSV}"),
    (b"%PDF-", "a PDF file, not a table"),
    (b"\x80\x04\x95", f"a Python pickle, which is never loaded: {_AS_CSV}"),
    (b"\x80\x05\x95", f"a Python pickle, which is never loaded: {_AS_CSV}"),
)
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_BLANKS: Final = b" \t\r\n"
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_MIN_WIDE_CHARS: Final = 8  # of text in two bytes a character, to be sure of it
_PACKED_PARTS: Final = {
    GZIP_MAGIC: "a gzip file",
    PARQUET_MAGIC: "a Parquet file",
    **dict.fromkeys(ZIP_MAGICS, "a zip archive"),
}


def describe_wrong_kind(head: bytes) -> str | None:
    """What a file is that is neither CSV nor Parquet, and what to do; None if it may be one."""
    for magic, what in _BY_MAGIC:
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return f"a tar archive: {_UNPACK}"
    if head.startswith(_LFS_POINTER):
        return "a Git LFS pointer and not the file itself: fetch it with git lfs pull"
    start = head.removeprefix(_UTF8_BOM).lstrip(_BLANKS)
    if start.startswith(b"<"):
        what = "XML" if start[:5].lower() == b"<?xml" else "an HTML page"
        return f"{what}, perhaps an error page that was saved under this name: download it again"
    if start[:1] in (b"{", b"["):
        return f"JSON: {_AS_CSV}"
    if _is_wide_text(head):
        return f"UTF-16 text: {_AS_CSV}"
    return None


def describe_packed(head: bytes) -> str | None:
    """What is packed inside a packed file a second time; None if it is not."""
    for magic, what in _PACKED_PARTS.items():
        if head.startswith(magic):
            return what
    return None


def _is_wide_text(head: bytes) -> bool:
    """Whether this is ASCII in two bytes a character, without a byte order mark."""
    size = min(len(head), 64) // 2 * 2
    even, odd = head[0:size:2], head[1:size:2]
    return len(even) >= _MIN_WIDE_CHARS and (
        (not any(odd) and all(even)) or (not any(even) and all(odd))
    )
