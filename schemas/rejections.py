"""Rejections: bad records as values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ERROR_HEADERS: Final = "__connect.errors."
"""What Kafka Connect's dead letters, and so ours, begin the names of their headers with."""

CUT_HEADER: Final = "dlq.value.original.bytes"
"""On a dead letter whose value did not fit and was cut: how long it had been."""


OMITTED_HEADER: Final = ERROR_HEADERS + "headers.omitted"
"""On a dead letter without the input's own headers: why they were left out."""


class Stage(StrEnum):
    """Where a record failed; the ``__connect.errors.stage`` header of its dead letter."""

    FRAMING = "framing"
    SCHEMA = "schema"
    DECODE = "decode"
    VALIDATE = "validate"
    SCORE = "score"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that gets a dead letter instead of a score.

    ``index`` is the record's position in the batch it was polled in; ``reason`` names the
    field where there is one, and never quotes more of the payload than that field's value.
    ``is_tombstone``: the value is null, as for a deletion upstream.
    """

    index: int
    stage: Stage
    reason: str
    field: str | None = None
    is_tombstone: bool = False
