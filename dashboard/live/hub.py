"""Sends ticks to all open streams. Runs on the event loop, and nothing here blocks.

Each client has a slot for one tick. For a slow client several ticks are merged into one, so the
server's memory is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from fastapi.sse import ServerSentEvent

from dashboard.live.ticks import Tick, merge_ticks, render_event
from dashboard.masking import NO_MASK, FieldMask

MAX_STREAMS: Final = 200
AUTH_CHECK_SECONDS: Final = 2.0
"""How often an open stream checks that its client is still authorized."""

_RING: Final = 120  # ticks kept for clients that reconnect: 30 s at 4 ticks per second


class TooManyStreams(Exception):
    """The limit of open streams per process is reached."""


class Hub:
    """The open streams and the last ticks."""

    def __init__(self, boot: str, first: Tick, limit: int = MAX_STREAMS) -> None:
        self.boot = boot
        self._limit = limit
        self._latest = first
        self._ring: deque[Tick] = deque(maxlen=_RING)
        self._streams: set[Stream] = set()
        self._rendered: dict[FieldMask, tuple[Tick, ServerSentEvent]] = {}
        self._is_closed = False
        self.dropped = 0
        """Rows that slow clients did not get."""

    @property
    def limit(self) -> int:
        """The most streams that may be open."""
        return self._limit

    @property
    def waiting(self) -> int:
        """Streams whose client has not taken the last tick yet."""
        return sum(stream.is_waiting for stream in self._streams)

    @property
    def latest(self) -> Tick:
        """The last published tick."""
        return self._latest

    @property
    def event_id(self) -> str:
        """The id of the last event. A stream can continue from it."""
        return f"{self.boot}-{self._latest.seq}"

    def __len__(self) -> int:
        return len(self._streams)

    def publish(self, tick: Tick) -> None:
        """Send a tick to every stream."""
        self._latest = tick
        self._ring.append(tick)
        for stream in self._streams:
            stream.offer(tick)

    def open(self, last_event_id: str | None, mask: FieldMask = NO_MASK) -> Stream:
        """Open a stream that continues after an event id, or starts with the current state.

        ``mask`` is what its user does not see.

        Raises:
            TooManyStreams: the limit is reached.
        """
        if len(self._streams) >= self._limit:
            raise TooManyStreams
        stream = Stream(self, self._first(last_event_id), mask)
        if self._is_closed:
            stream.end()
        self._streams.add(stream)
        return stream

    def leave(self, stream: Stream) -> None:
        """Remove a stream."""
        self._streams.discard(stream)

    def close(self) -> None:
        """End all streams. Streams opened later end immediately."""
        self._is_closed = True
        for stream in self._streams:
            stream.end()

    def render(self, tick: Tick, mask: FieldMask = NO_MASK) -> ServerSentEvent:
        """The event of a tick. It is encoded once for all clients that get the same one."""
        last = self._rendered.get(mask)
        if last is None or last[0] is not tick:
            last = self._rendered[mask] = (tick, render_event(self.boot, tick, mask))
        return last[1]

    def _first(self, last_event_id: str | None) -> Tick:
        """The first tick of a stream: the missed ticks merged, a reset, or the state alone."""
        bare = replace(
            self._latest, scored=0, flagged=0, rows=(), more=0, dropped=0, is_reset=False,
            cases={}, has_more_cases=False,
        )  # fmt: skip
        if not last_event_id:
            return bare
        boot, _, number = last_event_id.rpartition("-")
        if boot != self.boot or not (number.isascii() and number.isdigit()):
            return replace(bare, is_reset=True)
        last = int(number)
        if last == self._latest.seq:
            return bare
        missed = [tick for tick in self._ring if tick.seq > last]
        if not missed or missed[0].seq != last + 1:
            return replace(bare, is_reset=True)
        merged = missed[0]
        for tick in missed[1:]:
            merged = merge_ticks(merged, tick)
        return merged


class Stream:
    """The slot of one client. Iterate over it to get events until it ends."""

    def __init__(self, hub: Hub, first: Tick, mask: FieldMask) -> None:
        self._hub = hub
        self._mask = mask
        self._pending: Tick | None = first
        self._ready = asyncio.Event()
        self._ready.set()
        self._is_ended = False

    def offer(self, tick: Tick) -> None:
        """Put a tick into the slot. Merge it with a tick that has not been sent yet."""
        pending = self._pending
        if pending is None:
            self._pending = tick
        else:
            self._pending = merge_ticks(pending, tick)
            self._hub.dropped += self._pending.dropped - pending.dropped - tick.dropped
        self._ready.set()

    @property
    def is_waiting(self) -> bool:
        """Whether a tick waits for the client."""
        return self._pending is not None

    def end(self) -> None:
        """End the iteration."""
        self._is_ended = True
        self._ready.set()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> ServerSentEvent:
        await self._ready.wait()
        if self._is_ended:
            raise StopAsyncIteration
        tick, self._pending = self._pending, None
        self._ready.clear()
        if tick is None:
            raise StopAsyncIteration
        return self._hub.render(tick, self._mask)


async def while_authorized(
    events: AsyncIterable[ServerSentEvent],
    is_authorized: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[ServerSentEvent]:
    """Yield events until the client is no longer authorized.

    No event is sent more than ``AUTH_CHECK_SECONDS`` after the last successful check. There is at
    least one tick per second, so an idle stream ends too.
    """
    checked_at = clock()
    async for event in events:
        if clock() - checked_at >= AUTH_CHECK_SECONDS:
            if not is_authorized():
                return
            checked_at = clock()
        yield event
