"""Ranges of offsets by partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets ``low`` (inclusive) to ``high`` (exclusive) of one partition."""

    low: int
    high: int


Spans = Mapping[int, Span]
"""Partition number to span."""
