"""Untrusted text for people: decoded without errors, and safe to print on a terminal."""

from __future__ import annotations

from schemas.text import encodable


def as_text(value: bytes | str | None) -> str:
    """A header's value as text; bytes that are not UTF-8 are escaped."""
    if value is None or isinstance(value, str):
        return value or ""
    return value.decode("utf-8", "backslashreplace")


def as_bytes(text: str) -> bytes:
    """A text as a header's value; lone surrogates, which UTF-8 cannot hold, are escaped."""
    return encodable(text).encode()


def printable(text: str) -> str:
    """The text with all characters escaped that control a terminal or reorder the text.

    The text is untrusted. This removes colours, cursor movements and titles (C0 and C1 controls),
    line ends, and Unicode direction controls (TR 36).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """:func:`printable` for our own text of several lines: its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """JSON whose strings hold nothing that a terminal would act on; it has the same value."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _json_escaped(c) for c in text)


def _json_escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
