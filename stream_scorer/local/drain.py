"""Decides when the demo's stream is through."""

from __future__ import annotations

from typing import Final

from stream_scorer.local.scrape import MetricSample

QUIET_SECONDS: Final = 10.0
"""A scorer measures its lag every 5 s."""

WAIT_SECONDS: Final = 60.0
"""From the last transaction produced: longer, the audit says what is missing."""


class Drain:
    """Every transaction has an outcome, or waiting any longer is useless."""

    def __init__(self, wanted: int | None) -> None:
        self._wanted = wanted
        self._produced_at: float | None = None
        self._busy_at = 0.0

    def is_over(
        self, sample: MetricSample, now: float, *, is_produced: bool, is_restarted: bool
    ) -> bool:
        """Whether it is.

        After a restart of the scorer the counts are too low. Then no lag for a while decides.
        """
        if self._wanted is not None and sample.outcomes >= self._wanted:
            return True
        if not is_produced:
            return False
        if self._produced_at is None:
            self._produced_at = self._busy_at = now
        has_answered = now - sample.at < QUIET_SECONDS
        if sample.lag or not sample.partitions or not has_answered:
            self._busy_at = now
        is_quiet = is_restarted and now - self._busy_at >= QUIET_SECONDS
        return is_quiet or now - self._produced_at > WAIT_SECONDS
