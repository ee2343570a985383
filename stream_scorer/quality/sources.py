"""Where labels come from, which decides what they can say. Pure."""

from __future__ import annotations

from enum import StrEnum


class LabelSource(StrEnum):
    """The three ways to know what a transaction was."""

    MATURED = "matured"
    """Everything old enough to know: fraud that was reported, and the rest is legitimate."""
    REVIEWED = "reviewed"
    """What analysts decided about flagged transactions: precision, never recall."""
    SAMPLED = "sampled"
    """Also what they decided in the random lane; each of its rows stands for many."""
