"""Rejections: bad records as values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    """

    index: int
    stage: Stage
    reason: str
    field: str | None = None
