"""Masks credentials in addresses, so that messages, logs and responses do not contain them."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "****"
_WORDS: Final = re.compile(r"\S+")


def mask_userinfo(text: str) -> str:
    """``text`` with ``****`` for everything before an ``@``: ``http://****@host``.

    This also applies without a scheme. It masks too much rather than too little, since a password
    may contain slashes and ``@``. The time is proportional to the length of the text.
    """
    return _WORDS.sub(_mask_word, text) if "@" in text else text


def _mask_word(match: re.Match[str]) -> str:
    before, at, host = match[0].rpartition("@")
    if not at:
        return host
    scheme, slashes, _ = before.partition("//")
    return f"{scheme}{slashes}{MASK}@{host}" if slashes else f"{MASK}@{host}"
