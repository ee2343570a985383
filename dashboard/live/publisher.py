"""Drains the board and publishes a tick, at most four times per second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import orjson

from dashboard.cache.connection import CacheUnavailable
from dashboard.feed.board import TICK_CASES, Activity, Board
from dashboard.live.decided import DecidedBins, Scores
from dashboard.live.hub import Hub
from dashboard.live.ticks import Rates, Tick, build_tick, build_vitals
from dashboard.model_status import ModelSource

log = logging.getLogger(__name__)

_TICK_SECONDS: Final = 0.25
_IDLE_SECONDS: Final = 1.0


class ChangedCase(Protocol):
    """A case, as far as a tick needs it."""

    @property
    def label(self) -> str | None:
        """How it was decided. None if it is not."""
        ...

    def as_json(self) -> dict[str, Any]:
        """The case as the API sends it."""
        ...


class CaseSource(Scores, Protocol):
    """The desk, as far as ticks need it."""

    def changes_after(self, number: int) -> tuple[int, list[str] | None]:
        """The number of the last change, and the ids that changed since. None: too many."""
        ...

    def case_of(self, flag_ids: Iterable[str]) -> Mapping[str, ChangedCase]:
        """The cases of flags."""
        ...

    def waiting(self) -> int:
        """The number of decisions that wait to be recorded."""
        ...


class CaseFollower:
    """Puts changed cases and the number of waiting decisions on the board."""

    def __init__(self, cases: CaseSource, board: Board) -> None:
        self._cases = cases
        self._board = board
        self._decided = DecidedBins(cases)
        self._counted: int | None = None
        self._number, _ = cases.changes_after(0)

    def follow(self) -> None:
        """Note what changed since the last call. Reads files, so it runs in a thread."""
        number, ids = self._cases.changes_after(self._number)
        cases: Mapping[str, ChangedCase] = {}
        if number != self._number:
            cases = self._cases.case_of(ids or ())
            if ids is None or len(ids) > TICK_CASES:
                self._board.note_many_cases()
            else:
                for flag_id, case in cases.items():
                    self._board.note_case(flag_id, orjson.dumps(case.as_json()))
        self._count(cases, is_complete=ids is not None)
        self._number = number
        self._board.note_waiting(self._cases.waiting())

    def _count(self, cases: Mapping[str, ChangedCase], *, is_complete: bool) -> None:
        """Count the decided transactions by score, all of them only if something is not known."""
        changes = self._board.distribution.changes
        if changes != self._counted or not is_complete:
            self._decided.recount()
            self._counted = changes
        self._decided.update({one: case.label is not None for one, case in cases.items()})
        self._decided.retry()
        self._board.distribution.note_decided(self._decided.bins)


class TickPublisher:
    """Turns the board's activity into ticks."""

    def __init__(self, board: Board, model: ModelSource, cases: CaseSource | None = None) -> None:
        self._board = board
        self._follower = None if cases is None else CaseFollower(cases, board)
        self._model = model
        self._rates = Rates()
        self._rates.add(time.monotonic(), 0, 0)
        self._seq = 0

    async def run(self, hub: Hub) -> None:
        """Publish ticks until cancelled."""
        published = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self._follower is not None:
                await self._follow(self._follower)
            activity = self._board.drain()
            now = time.monotonic()
            is_news = activity.scored or activity.is_reset or activity.cases
            if is_news or activity.has_more_cases or now - published >= _IDLE_SECONDS:
                hub.publish(self.next_tick(activity, now))
                published = now

    async def _follow(self, follower: CaseFollower) -> None:
        try:
            await asyncio.to_thread(follower.follow)
        except CacheUnavailable as error:  # it is made again, and its reader says so
            log.debug("the changed cases could not be read: %s", error)
        except Exception:
            # Ticks go on without cases. The page shows a case when its row is read again.
            log.exception("the changed cases could not be read")

    def first(self) -> Tick:
        """The initial tick, for streams that open before the first published tick."""
        return build_tick(0, Activity(0, 0, (), 0, False), (0.0, 0.0), self._vitals((0.0, 0.0)))

    def next_tick(self, activity: Activity, now: float) -> Tick:
        """The next tick. ``now`` is in monotonic seconds."""
        self._seq += 1
        rates = self._rates.add(now, activity.scored, activity.flagged)
        return build_tick(self._seq, activity, rates, self._vitals(rates))

    def _vitals(self, rates: tuple[float, float]) -> bytes:
        vitals = orjson.dumps(build_vitals(self._board, self._model, rates))
        return vitals[1:-1]
