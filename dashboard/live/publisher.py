"""Drains the board and publishes a tick, at most four times per second."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import orjson

from dashboard.feed.board import Activity, Board
from dashboard.live.hub import Hub
from dashboard.live.ticks import Rates, Tick, build_tick, build_vitals
from dashboard.model_status import ModelSource

_TICK_SECONDS: Final = 0.25
_IDLE_SECONDS: Final = 1.0


class TickPublisher:
    """Turns the board's activity into ticks."""

    def __init__(self, board: Board, model: ModelSource) -> None:
        self._board = board
        self._model = model
        self._rates = Rates()
        self._rates.add(time.monotonic(), 0, 0)
        self._seq = 0

    async def run(self, hub: Hub) -> None:
        """Publish ticks until cancelled."""
        published = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            activity = self._board.drain()
            now = time.monotonic()
            if activity.scored or activity.is_reset or now - published >= _IDLE_SECONDS:
                hub.publish(self.next_tick(activity, now))
                published = now

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
