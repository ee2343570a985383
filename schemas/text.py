"""Text that can always be encoded."""

from __future__ import annotations


def encodable(text: str) -> str:
    r"""The text with lone surrogates escaped (``\ud800``), so that encoding it never raises.

    Text parsed from JSON can contain them: a record's field name, a registry's message.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """The text with its line ends and other control characters escaped, for a message."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
