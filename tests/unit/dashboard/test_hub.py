"""Ticks and streams: merging for slow clients, replay for reconnecting ones, bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson
import pytest
from fastapi.sse import ServerSentEvent

from dashboard.cache.flag import Flag
from dashboard.cache.flag_table import Counts
from dashboard.cases.case import Case
from dashboard.feed.board import TICK_CASES, TICK_ROWS, Activity, Board, FeedState
from dashboard.live.hub import AUTH_CHECK_SECONDS, Hub, TooManyStreams, while_authorized
from dashboard.live.publisher import CaseFollower, TickPublisher
from dashboard.live.ticks import Rates, Tick, build_tick, merge_ticks, render_event
from dashboard.model_status import PLAIN_PROBLEM
from tests.support.dashboard_kit import StaticModel, make_flag


def make_flags(count: int) -> tuple[Flag, ...]:
    return tuple(make_flag(i) for i in range(count))


def make_tick(seq: int, scored: int = 0, rows: int = 0, **more: Any) -> Tick:
    activity = Activity(scored, rows, make_flags(rows), 0, more.get("is_reset", False))
    return build_tick(seq, activity, (1.0, 0.1), b'"lag":%d' % seq)


def make_hub(limit: int = 3) -> Hub:
    return Hub("boot", make_tick(0), limit)


def test_slow_client_gets_one_merged_tick_with_the_current_state() -> None:
    async def scenario() -> dict[str, Any]:
        hub = make_hub()
        stream = hub.open(None)
        await anext(stream)
        for seq in range(1, 6):
            hub.publish(make_tick(seq, scored=10, rows=20))
        event = await anext(stream)
        assert event.id == "boot-5"
        data: dict[str, Any] = orjson.loads(event.raw_data or "")
        return data

    data = asyncio.run(scenario())
    assert data["n"] == 50
    assert data["flagged"] == 100
    assert data["lag"] == 5
    assert len(data["rows"]) == TICK_ROWS
    assert data["more"] == data["dropped"] == 100 - TICK_ROWS


def test_merging_keeps_the_newest_rows_and_any_reset() -> None:
    older, newer = make_tick(1, rows=TICK_ROWS, is_reset=True), make_tick(2, rows=3)
    merged = merge_ticks(older, newer)
    assert merged.rows == newer.rows + older.rows[: TICK_ROWS - 3]
    assert merged.is_reset


def test_event_is_encoded_once_for_all_clients() -> None:
    async def scenario() -> None:
        hub = make_hub()
        streams = [hub.open(None) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        hub.publish(make_tick(1, scored=1, rows=1))
        first, second = [await anext(stream) for stream in streams]
        assert first is second

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("last", "kind", "scored"),
    [
        (None, "tick", 0),
        ("boot-150", "tick", 0),
        ("boot-148", "tick", 2),
        ("boot-3", "reset", 0),  # no longer in the ring
        ("other-148", "reset", 0),
        ("boot-900", "reset", 0),
        ("nonsense", "reset", 0),
    ],
)
def test_reconnecting_client_gets_a_replay_or_a_reset(
    last: str | None, kind: str, scored: int
) -> None:
    async def scenario() -> None:
        hub = make_hub()
        for seq in range(1, 151):
            hub.publish(make_tick(seq, scored=1))
        event = await anext(hub.open(last))
        assert (event.event, event.id) == (kind, "boot-150")
        assert orjson.loads(event.raw_data or "")["n"] == scored

    asyncio.run(scenario())


def test_streams_beyond_the_limit_are_rejected_until_one_leaves() -> None:
    hub = make_hub(limit=2)
    first, _ = hub.open(None), hub.open(None)
    with pytest.raises(TooManyStreams):
        hub.open(None)
    hub.leave(first)
    hub.open(None)
    assert len(hub) == 2


def test_close_ends_open_and_later_streams() -> None:
    async def scenario() -> None:
        hub = make_hub()
        stream = hub.open(None)
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        hub.close()
        assert await asyncio.wait_for(waiting, 60) is None
        assert [event async for event in hub.open(None)] == []

    asyncio.run(scenario())


def test_rate_covers_the_last_ten_seconds() -> None:
    rates = Rates()
    assert rates.add(100.0, 0, 0) == (0.0, 0.0)
    assert rates.add(101.0, 50, 5) == (50.0, 5.0)
    for second in range(102, 140):
        found = rates.add(float(second), 20, 1)
    assert found == pytest.approx((20.0, 1.0))


def test_board_keeps_the_newest_rows_and_counts_the_rest() -> None:
    board = Board()
    board.enter(FeedState.LIVE)
    board.add(80, make_flags(80), None, Counts(scored=80))
    activity = board.drain()
    assert len(activity.rows) == TICK_ROWS
    assert activity.more == 80 - TICK_ROWS
    assert [f.key for f in activity.rows] == sorted((f.key for f in activity.rows), reverse=True)
    assert board.drain() == Activity(0, 0, (), 0, is_reset=False)


def test_ticks_are_numbered_and_carry_the_state() -> None:
    board = Board(clock=lambda: 1.0)
    publisher = TickPublisher(board, StaticModel(problem="artifact store: down"))
    board.enter(FeedState.WAITING, "no broker")
    tick = publisher.next_tick(Activity(0, 0, (), 0, is_reset=False), 1.0)
    vitals = orjson.loads(b"{" + tick.vitals + b"}")
    assert (publisher.first().seq, tick.seq) == (0, 1)
    assert vitals["feed"]["state"] == "waiting"
    assert vitals["feed"]["detail"] == "no broker"
    assert vitals["model"] == {
        "version": None,
        "detail": PLAIN_PROBLEM,  # ticks go to all roles
        "rejected": None,
        "override": None,
    }


@pytest.mark.parametrize("until", [0, 3, 7])
def test_stream_ends_soon_after_its_client_loses_authorization(until: int) -> None:
    now = 0

    async def ticks() -> AsyncIterator[ServerSentEvent]:
        nonlocal now
        for now in range(100):  # one per second
            yield ServerSentEvent(data=now, id=str(now))

    async def scenario() -> list[int]:
        events = while_authorized(ticks(), lambda: now < until, clock=lambda: float(now))
        return [int(event.id or "") async for event in events]

    seen = asyncio.run(scenario())
    assert seen == list(range(seen[-1] + 1))
    assert until - 1 <= seen[-1] < until + AUTH_CHECK_SECONDS


def test_stream_continues_while_its_client_is_authorized() -> None:
    checks: list[float] = []

    async def scenario() -> int:
        hub, now = make_hub(), 0.0
        stream = hub.open(None)

        def is_authorized() -> bool:
            checks.append(now)
            return True

        events = while_authorized(stream, is_authorized, clock=lambda: now)
        await anext(events)
        for seq in range(1, 40):
            now = seq / 4
            hub.publish(make_tick(seq))
            event = await anext(events)
        assert event.id == "boot-39"
        stream.end()
        return len([event async for event in events])

    assert asyncio.run(scenario()) == 0
    assert checks == [
        AUTH_CHECK_SECONDS * i for i in range(1, 1 + int(39 / 4 / AUTH_CHECK_SECONDS))
    ]


@pytest.mark.parametrize("last", ["boot-²", "boot-٣", "boot-"])
def test_event_id_without_a_number_gets_a_reset(last: str) -> None:
    async def scenario() -> str | None:
        return (await anext(make_hub().open(last))).event

    assert asyncio.run(scenario()) == "reset"


def case(number: int) -> bytes:
    return orjson.dumps({"status": "claimed", "version": number})


def test_tick_has_the_cases_that_changed_and_the_last_state_of_each() -> None:
    board = Board()
    publisher = TickPublisher(board, StaticModel())
    board.note_case("0-1", case(1))
    board.note_case("0-2", case(1))
    board.note_case("0-1", case(2))
    board.note_waiting(3)
    tick = publisher.next_tick(board.drain(), 1.0)
    data = orjson.loads(render_event("boot", tick).raw_data or "")
    assert data["cases"] == [
        {"id": "0-2", "status": "claimed", "version": 1},
        {"id": "0-1", "status": "claimed", "version": 2},
    ]
    assert (data["cases_more"], data["waiting"]) == (False, 3)
    assert (data["backlog"], data["delay_ms"], data["delay_from"]) == (None, None, None)
    assert data["scorer"] == {"state": "unknown", "since": None, "oldest_at": None}
    assert (
        orjson.loads(render_event("b", publisher.next_tick(board.drain(), 2.0)).raw_data or "")[
            "cases"
        ]
        == []
    )


def test_many_changed_cases_are_bounded_and_say_that_there_are_more() -> None:
    board = Board()
    publisher = TickPublisher(board, StaticModel())
    ticks = []
    for start in (0, 40):
        for number in range(start, start + 40):
            board.note_case(f"0-{number}", case(1))
        ticks.append(publisher.next_tick(board.drain(), 1.0))
    assert [len(tick.cases) for tick in ticks] == [40, 40]
    assert not ticks[1].has_more_cases
    merged = merge_ticks(*ticks)
    assert (len(merged.cases), merged.has_more_cases) == (TICK_CASES, True)
    assert list(merged.cases)[-1] == "0-79"
    for number in range(TICK_CASES + 1):
        board.note_case(f"1-{number}", case(1))
    tick = publisher.next_tick(board.drain(), 1.0)
    assert (len(tick.cases), tick.has_more_cases) == (TICK_CASES, True)


class Desk:
    """Cases that change."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def changes_after(self, number: int) -> tuple[int, list[str] | None]:
        return len(self.changes), self.changes[number:]

    def case_of(self, flag_ids: Iterable[str]) -> dict[str, Case]:
        return {flag_id: Case(note=flag_id) for flag_id in flag_ids}

    def decided_scores(self) -> dict[str, float]:
        return {}

    def scores_of(self, flag_ids: Iterable[str]) -> dict[str, float]:
        return dict.fromkeys(flag_ids, 0.9)

    def waiting(self) -> int:
        return 2


def test_changes_at_the_desk_are_published_once_and_many_only_as_a_fact() -> None:
    board, desk = Board(), Desk()
    desk.changes = ["0-0"]  # before the start: pages have it
    follower = CaseFollower(desk, board)
    follower.follow()
    assert board.drain().cases == {}
    desk.changes += ["0-1"]
    follower.follow()
    follower.follow()
    activity = board.drain()
    assert list(activity.cases) == ["0-1"]
    assert orjson.loads(activity.cases["0-1"])["note"] == "0-1"
    assert board.waiting == 2
    desk.changes += [f"1-{i}" for i in range(TICK_CASES + 1)]
    follower.follow()
    activity = board.drain()
    assert (activity.cases, activity.has_more_cases) == ({}, True)
