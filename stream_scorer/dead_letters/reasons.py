"""Groups similar reasons of dead letters."""

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
    """The reason with placeholders for numbers, bytes and quoted values: equal for similar reasons.

    Field names (``card1``, ``id_01``) keep their digits.
    """
    text = _QUOTED.sub("'…'", reason)
    text = _HEX_BYTES.sub("#", text)
    return _NUMBER.sub("#", text)
