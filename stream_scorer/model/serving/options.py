"""How a watcher polls and guards, and the callbacks it reports to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.guard import GuardPolicy, Trip

OnLoad = Callable[[str, float], None]
"""Called with a version and the seconds its load took."""

OnFailure = Callable[[str, str], None]
"""Called with a version that failed to load, and the reason."""

OnTrip = Callable[[str, Trip], None]
"""Called with a version that failed its guard, and the finding."""


@dataclass(frozen=True, slots=True)
class WatcherOptions:
    """How a :class:`~stream_scorer.model.serving.watcher.ModelWatcher` behaves.

    Attributes:
        trusted_keys: public keys, one of which must have signed a bundle; empty accepts unsigned
            bundles.
        poll_seconds: seconds between two checks of the pointer.
        retry_refused_seconds: the most seconds before a version that failed to load is fetched
            again; a corrupt one is fetched sooner at first.
        guard: how new versions on probation are judged; None: there is no probation.
        is_cold: whether a bundle's card history began without a past a short time ago, so that its
            scores are not yet distributed as those of its test rows.
    """

    trusted_keys: Sequence[bytes] = ()
    poll_seconds: float = 15.0
    retry_refused_seconds: float = 300.0
    guard: GuardPolicy | None = None
    is_cold: Callable[[Bundle], bool] = lambda _: False
