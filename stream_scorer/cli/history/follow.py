"""``history build --follow``: keeps the snapshots of a new era fresh until scorers use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stream_scorer.cli.console import count_noun, note
from stream_scorer.errors import ScorerError, UsageError
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.runtime.settings import HistorySettings
from stream_scorer.state.admin.build import HistoryBuilder

_LOOK_SECONDS: Final = 10.0
_STEP_SECONDS: Final = 0.2


def follow(
    builder: HistoryBuilder,
    store: HistoryStore,
    era: Era,
    settings: HistorySettings,
    is_stopping: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Store newer snapshots every ``HISTORY_SNAPSHOT_SECONDS``.

    It ends when scorers have committed offsets with this era, or when the process is stopped. A
    failure is reported, and the next attempt may succeed.

    Raises:
        UsageError: another era has begun, so nobody needs these snapshots.
    """
    note("keeping the snapshots fresh until scorers use them")
    shown = None
    refreshed_at = clock()
    while not is_stopping():
        try:
            newest = store.eras(era.spec)[-1:]
            if newest and newest[0] > era.number:
                raise UsageError(f"era {newest[0]} has begun: snapshots of this one are not needed")
            if builder.is_served(era):
                note("scorers use the new era, and store snapshots themselves: done")
                return
            if clock() - refreshed_at >= settings.history_snapshot_seconds:
                done = builder.refresh(era, settings.history_keep_days)
                refreshed_at = clock()
                note(f"{count_noun(len(done), 'snapshot')} written")
            shown = None
        except UsageError:
            raise
        except ScorerError as error:
            if str(error) != shown:
                note(f"not possible now, and tried again: {error}")
            shown = str(error)
        until = clock() + _LOOK_SECONDS
        while clock() < until and not is_stopping():
            pause(_STEP_SECONDS)
