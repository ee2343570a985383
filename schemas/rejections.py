"""Rejections: bad records as values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.text import encodable

ERROR_HEADERS: Final = "__connect.errors."
"""The prefix of dead-letter header names, as in Kafka Connect."""

CUT_HEADER: Final = "dlq.value.original.bytes"
"""The original length of a dead letter's value that was too large and was truncated."""


OMITTED_HEADER: Final = ERROR_HEADERS + "headers.omitted"
"""On a dead letter without the input's own headers: why they were left out."""


class Stage(StrEnum):
    """Where a record failed; its dead letter has this in the ``__connect.errors.stage`` header."""

    FRAMING = "framing"
    SCHEMA = "schema"
    DECODE = "decode"
    VALIDATE = "validate"
    SCORE = "score"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that gets a dead letter instead of a score.

    ``index`` is the record's position in its polled batch. ``reason`` names the field, if there
    is one, and never quotes more of the payload than that field's value. Lone surrogates in it are
    escaped, because it goes into headers, logs and pages. ``is_tombstone``: the value is null, as
    for a deletion upstream.
    """

    index: int
    stage: Stage
    reason: str
    field: str | None = None
    is_tombstone: bool = False

    def __post_init__(self) -> None:
        """Make the reason and the field's name encodable, wherever they came from."""
        object.__setattr__(self, "reason", encodable(self.reason))
        if self.field is not None:
            object.__setattr__(self, "field", encodable(self.field))
