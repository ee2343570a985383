"""What the challenger reports to, and where its scores go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

from stream_scorer.shadow.figures import Figures
from stream_scorer.stream.ports import Outgoing

Shed = Literal["queue", "behind", "cpu", "history", "publish"]
SHED: Final[tuple[Shed, ...]] = ("queue", "behind", "cpu", "history", "publish")
"""Why transactions were left out: the queue was full, the scorer is behind, no processor is free,
the champion has no card history for the challenger, or the score could not be published."""


class ShadowObserver(Protocol):
    """Receives events, for metrics; any thread may call it."""

    def loaded(self, version: str | None) -> None:
        """This version scores in shadow from now on; None: none does."""
        ...

    def refused(self) -> None:
        """A version could not be loaded, or was put aside because it failed."""
        ...

    def scored(self, figures: Figures, seconds: float) -> None:
        """Transactions were scored in ``seconds``."""
        ...

    def shed(self, reason: Shed, rows: int) -> None:
        """Transactions were left out."""
        ...

    def failed(self, rows: int) -> None:
        """The challenger could not score these transactions."""
        ...

    def disabled(self) -> None:
        """No challenger scores here until the process is restarted."""
        ...


class ShadowSink(Protocol):
    """Where the scores go. At least once; losing some does no harm."""

    @property
    def topic(self) -> str:
        """The topic."""
        ...

    def head(self) -> bytes | None:
        """The framing of scores; None while they cannot be published."""
        ...

    def send(self, records: Sequence[Outgoing]) -> int:
        """Send records without waiting; returns how many were not taken."""
        ...
