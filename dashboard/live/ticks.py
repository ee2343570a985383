"""Ticks: the updates sent to open pages, and how two of them are merged."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from fastapi.sse import ServerSentEvent

from dashboard.cache.flag import Flag
from dashboard.feed.board import (
    TICK_CASES,
    TICK_ROWS,
    Activity,
    Board,
    FeedState,
    FeedStatus,
)
from dashboard.live.notices import describe_notices, describe_progress
from dashboard.masking import NO_MASK, FieldMask
from dashboard.model_status import ModelSource, describe_model

_RATE_SECONDS: Final = 10.0  # long enough to be steady, short enough to show changes
_NAMED_UNREADABLE: Final = 3  # the operations page has more


@dataclass(frozen=True, slots=True)
class Tick:
    """One update of the open pages.

    Attributes:
        seq: its number since the start of this process.
        scored: scores since the previous tick.
        flagged: flagged scores since the previous tick.
        rows: the newest flagged transactions, newest first.
        more: the number of flagged transactions that ``rows`` leaves out.
        dropped: how many of those were left out because the client was slow.
        is_reset: this tick does not continue the client's list. The client must fetch it again.
        cases: the encoded cases that changed, by flag id.
        has_more_cases: more cases changed. The client must fetch those that it shows again.
        rates: scores and flagged scores per second over the last ten seconds.
        vitals: encoded members of a JSON object with the state of feed, stream and model.
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
    cases: Mapping[str, bytes] = field(default_factory=dict)
    has_more_cases: bool = False


def build_tick(seq: int, activity: Activity, rates: tuple[float, float], vitals: bytes) -> Tick:
    """The tick for the activity since the previous one."""
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
        activity.cases,
        activity.has_more_cases,
    )


def merge_ticks(older: Tick, newer: Tick) -> Tick:
    """Merge two ticks. Rows beyond the limit are counted as dropped, the oldest cases go."""
    cases = {**older.cases, **newer.cases}
    has_more_cases = older.has_more_cases or newer.has_more_cases or len(cases) > TICK_CASES
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
        dict(list(cases.items())[-TICK_CASES:]),
        has_more_cases,
    )


def render_event(boot: str, tick: Tick, mask: FieldMask = NO_MASK) -> ServerSentEvent:
    """The event as it is sent. Its rows are the JSON stored in the cache, as the user sees it."""
    head = orjson.dumps(
        {
            "seq": tick.seq,
            "n": tick.scored,
            "flagged": tick.flagged,
            "more": tick.more,
            "dropped": tick.dropped,
            "cases_more": tick.has_more_cases,
        }
    )
    rows = b",".join(mask.mask_flag(flag.body) for flag in tick.rows)
    cases = b",".join(
        b'{"id":%b,%b' % (orjson.dumps(flag_id), case[1:]) for flag_id, case in tick.cases.items()
    )
    data = head[:-1] + b',"rows":[' + rows + b'],"cases":[' + cases + b"]," + tick.vitals + b"}"
    return ServerSentEvent(
        raw_data=data.decode("utf-8"),
        event="reset" if tick.is_reset else "tick",
        id=f"{boot}-{tick.seq}",
    )


def build_vitals(board: Board, model: ModelSource, rates: tuple[float, float]) -> dict[str, Any]:
    """The state that every tick carries, so that banners need no further request."""
    status, counts, described = board.status, board.counts, describe_model(model)
    return {
        "now": board.now(),
        "totals": {
            "scored": counts.scored,
            "flagged": counts.flagged,
            "unreadable": counts.unreadable,
        },
        "unreadable": [found.place for found in board.unreadable[:_NAMED_UNREADABLE]],
        "hist": counts.histogram,
        "listed": board.distribution.as_json(),
        "rate": {"scored": round(rates[0], 1), "flagged": round(rates[1], 2)},
        "lag": status.lag,
        "lag_ms": status.delay_ms,
        "delay_ms": status.input_delay_ms,
        "delay_from": describe_delay(status),
        "backlog": board.backlog.records,
        "backlog_detail": board.backlog.detail or None,
        "scorer": describe_scorer(board),
        "waiting": board.waiting,
        "feed": describe_feed(status),
        "stream": describe_stream(status),
        "model": described,
        "notices": describe_notices(board, described),
    }


def describe_feed(status: FeedStatus) -> dict[str, Any]:
    """The feed's state as JSON."""
    is_rebuilding = status.state is FeedState.REBUILDING
    return {
        "state": status.state.value,
        "detail": status.detail,
        "since": status.since,
        "read_at": status.read_at,
        "place": status.place,
        "done": round(status.done, 3),
        "progress": describe_progress(status.progress)
        if is_rebuilding and status.progress
        else None,
    }


def describe_delay(status: FeedStatus) -> str | None:
    """Where the delay of the last record starts: ``event_time`` or ``scored_at``."""
    if status.stamp is None:
        return None
    return "scored_at" if status.stamp.event_time is None else "event_time"


def describe_scorer(board: Board) -> dict[str, Any]:
    """What the scorers do as JSON: working, idle, silent (since when) or unknown."""
    scorer, backlog = board.scorer, board.backlog
    return {"state": scorer.state, "since": scorer.since, "oldest_at": backlog.oldest_at}


def describe_stream(status: FeedStatus) -> dict[str, Any] | None:
    """The model and thresholds of the last score on the topic. None before the first score."""
    stamp = status.stamp
    if stamp is None:
        return None
    return {
        "model_version": stamp.model_version,
        "review_threshold": stamp.review_threshold,
        "block_threshold": stamp.block_threshold,
    }


class Rates:
    """Scores and flagged scores per second over the last ten seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, scored: int, flagged: int) -> tuple[float, float]:
        """Add the counts of one tick at ``now`` (monotonic seconds), and return both rates."""
        self._samples.append((now, scored, flagged))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _RATE_SECONDS:
            self._samples.popleft()
        span = now - self._samples[0][0]
        if span <= 0:
            return 0.0, 0.0
        # The counts of the first sample belong to the time before it.
        later: Sequence[tuple[float, int, int]] = list(self._samples)[1:]
        return sum(s[1] for s in later) / span, sum(s[2] for s in later) / span
