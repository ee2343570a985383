"""The mark: text beside a committed offset that says what the offset belongs to. Pure.

It is stored as the offset's metadata, in the same Kafka transaction as the offset: ``key=value``
pairs joined by ``;``. Readers ignore keys that they do not know. An offset without a mark was
committed by an earlier release or by a tool, and there is nothing to compare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

TOPIC_ID: Final = "t"
"""The id of the input topic. A recreated topic has another id, and other records at its offsets."""

_KEY: Final = re.compile(r"[a-z][a-z0-9_]*")


def format_mark(fields: Mapping[str, str]) -> str:
    """The mark as text; empty values are left out.

    Raises:
        ValueError: a key or value cannot be written.
    """
    for key, value in fields.items():
        if not _KEY.fullmatch(key) or ";" in value:
            raise ValueError(f"not a field of a mark: {key}={value}")
    return ";".join(f"{key}={value}" for key, value in fields.items() if value)


def parse_mark(metadata: str | None) -> dict[str, str]:
    """The fields of a mark; parts of the text that are not ``key=value`` are ignored."""
    pairs = (part.partition("=") for part in (metadata or "").split(";"))
    return {key: value for key, equals, value in pairs if equals and _KEY.fullmatch(key)}
