"""Keeps credentials that stand in an address out of messages, logs and answers."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "****"
_WORDS: Final = re.compile(r"\S+")


def mask_userinfo(text: str) -> str:
    """``text`` with ``****`` for whatever stands before an ``@``: ``http://****@host``.

    Also where no scheme shows that it is an address. Rather too much is masked than too little:
    a password may hold slashes and further ``@``. Takes time in proportion to the text.
    """
    return _WORDS.sub(_mask_word, text) if "@" in text else text


def _mask_word(match: re.Match[str]) -> str:
    before, at, host = match[0].rpartition("@")
    if not at:
        return host
    scheme, slashes, _ = before.partition("//")
    return f"{scheme}{slashes}{MASK}@{host}" if slashes else f"{MASK}@{host}"
