"""Reasons of dead letters for people: alike ones under one name, and harmless on a terminal."""

from __future__ import annotations

import re
from typing import Final

_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER: Final = re.compile(
    r"0x[0-9a-fA-F]+|(?<![A-Za-z_0-9])[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?"
)
_HEX_BYTES: Final = re.compile(
    r"(?<!\w)(?:[0-9a-f]{2} )+[0-9a-f]{2}(?!\w)|(?<!\w)[0-9a-f]{16,}(?!\w)"
)


def similar(reason: str) -> str:
    """The reason with numbers, bytes and quoted values collapsed: equal for alike reasons.

    Names of fields (``card1``, ``id_01``) keep their digits.
    """
    text = _QUOTED.sub("'…'", reason)
    text = _HEX_BYTES.sub("#", text)
    return _NUMBER.sub("#", text)


def printable(text: str) -> str:
    """The text with everything escaped that a terminal would act on or that changes its order.

    Bytes from outside reach a person here: colours, cursor movements, titles (C0 and C1 controls),
    line ends and the directions of Unicode (TR 36) must not.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
