"""Ticks: what the page learns at one beat, and how two of them become one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi.sse import ServerSentEvent

from dashboard.cache.flag import Flag
from dashboard.feed.board import TICK_ROWS, Activity, Board, FeedStatus
from dashboard.model_status import ModelSource, describe_model

_RATE_SECONDS: Final = 10.0  # long enough to read, short enough to follow


@dataclass(frozen=True, slots=True)
class Tick:
    """One beat.

    Attributes:
        seq: its number since this process started.
        scored: scores since the tick before.
        flagged: flagged ones among them.
        rows: the newest of those, newest first.
        more: flagged ones that ``rows`` leaves out.
        dropped: those of them left out because the client was slow.
        is_reset: what the client shows is not continued by this tick: fetch the list again.
        rates: scores and flagged ones a second, of late.
        vitals: members of a JSON object with the state of feed, stream and model.
    """

    seq: int
    scored: int
    flagged: int
    rows: tuple[Flag, ...]
    more: int
    dropped: int
    is_reset: bool
    rates: tuple[float, float]
    vitals: bytes


def build_tick(seq: int, activity: Activity, rates: tuple[float, float], vitals: bytes) -> Tick:
    """The tick of what happened since the one before."""
    return Tick(
        seq,
        activity.scored,
        activity.flagged,
        activity.rows,
        activity.more,
        0,
        activity.is_reset,
        rates,
        vitals,
    )


def merge_ticks(older: Tick, newer: Tick) -> Tick:
    """One tick that says what both did; rows beyond the limit are counted as dropped."""
    rows = newer.rows + older.rows
    cut = max(0, len(rows) - TICK_ROWS)
    return Tick(
        newer.seq,
        older.scored + newer.scored,
        older.flagged + newer.flagged,
        rows[:TICK_ROWS],
        older.more + newer.more + cut,
        older.dropped + newer.dropped + cut,
        older.is_reset or newer.is_reset,
        newer.rates,
        newer.vitals,
    )


def render_event(boot: str, tick: Tick) -> ServerSentEvent:
    """The event as it is sent; its rows are the JSON that was stored with them."""
    head = orjson.dumps(
        {
            "seq": tick.seq,
            "n": tick.scored,
            "flagged": tick.flagged,
            "more": tick.more,
            "dropped": tick.dropped,
        }
    )
    rows = b",".join(flag.body for flag in tick.rows)
    data = head[:-1] + b',"rows":[' + rows + b"]," + tick.vitals + b"}"
    return ServerSentEvent(
        raw_data=data.decode("utf-8"),
        event="reset" if tick.is_reset else "tick",
        id=f"{boot}-{tick.seq}",
    )


def build_vitals(board: Board, model: ModelSource, rates: tuple[float, float]) -> dict[str, Any]:
    """The state that every tick carries, so that a banner needs no further request."""
    status, counts = board.status, board.counts
    return {
        "now": board.now(),
        "totals": {
            "scored": counts.scored,
            "flagged": counts.flagged,
            "unreadable": counts.unreadable,
        },
        "hist": counts.histogram,
        "rate": {"scored": round(rates[0], 1), "flagged": round(rates[1], 2)},
        "lag": status.lag,
        "lag_ms": status.delay_ms,
        "feed": describe_feed(status),
        "stream": describe_stream(status),
        "model": describe_model(model),
    }


def describe_feed(status: FeedStatus) -> dict[str, Any]:
    """The feed's state as JSON."""
    return {
        "state": status.state.value,
        "detail": status.detail,
        "since": status.since,
        "read_at": status.read_at,
        "done": round(status.done, 3),
    }


def describe_stream(status: FeedStatus) -> dict[str, Any] | None:
    """The model and thresholds of the last score on the topic; None before the first."""
    stamp = status.stamp
    if stamp is None:
        return None
    return {
        "model_version": stamp.model_version,
        "review_threshold": stamp.review_threshold,
        "block_threshold": stamp.block_threshold,
    }


class Rates:
    """Scores and flags a second over the last ten seconds."""

    def __init__(self) -> None:
        self._beats: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, scored: int, flagged: int) -> tuple[float, float]:
        """Note one beat (monotonic seconds) and return both rates."""
        self._beats.append((now, scored, flagged))
        while len(self._beats) > 2 and now - self._beats[1][0] >= _RATE_SECONDS:
            self._beats.popleft()
        span = now - self._beats[0][0]
        if span <= 0:
            return 0.0, 0.0
        # The first beat's counts belong to the time before it.
        later: Sequence[tuple[float, int, int]] = list(self._beats)[1:]
        return sum(b[1] for b in later) / span, sum(b[2] for b in later) / span
