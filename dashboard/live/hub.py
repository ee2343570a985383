"""Fans ticks out to the open streams. Lives on the event loop; nothing here blocks.

A client has room for one tick: a slow one gets several merged into one, so that the server's
memory is bounded whatever the clients do.
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

MAX_STREAMS: Final = 200
KNOWN_SECONDS: Final = 2.0
"""How long a stream goes on before it is asked again whose it is."""

_RING: Final = 120  # ticks kept for those who come back: 30 s at four a second


class TooManyStreams(Exception):
    """There are as many open streams as one process serves."""


class Hub:
    """The open streams and the last ticks."""

    def __init__(self, boot: str, first: Tick, limit: int = MAX_STREAMS) -> None:
        self.boot = boot
        self._limit = limit
        self._latest = first
        self._ring: deque[Tick] = deque(maxlen=_RING)
        self._streams: set[Stream] = set()
        self._rendered: tuple[Tick, ServerSentEvent] | None = None
        self._is_closed = False

    @property
    def latest(self) -> Tick:
        """The last tick published."""
        return self._latest

    @property
    def event_id(self) -> str:
        """The id of the last event, to continue from."""
        return f"{self.boot}-{self._latest.seq}"

    def __len__(self) -> int:
        return len(self._streams)

    def publish(self, tick: Tick) -> None:
        """Offer a tick to every stream."""
        self._latest = tick
        self._ring.append(tick)
        for stream in self._streams:
            stream.offer(tick)

    def open(self, last_event_id: str | None) -> Stream:
        """A new stream that continues after an event id, or starts with the present state.

        Raises:
            TooManyStreams: the limit is reached.
        """
        if len(self._streams) >= self._limit:
            raise TooManyStreams
        stream = Stream(self, self._first(last_event_id))
        if self._is_closed:
            stream.end()
        self._streams.add(stream)
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream."""
        self._streams.discard(stream)

    def close(self) -> None:
        """End all streams, and any that is opened from now on."""
        self._is_closed = True
        for stream in self._streams:
            stream.end()

    def render(self, tick: Tick) -> ServerSentEvent:
        """The event of a tick, built once for all who get the same one."""
        if self._rendered is None or self._rendered[0] is not tick:
            self._rendered = (tick, render_event(self.boot, tick))
        return self._rendered[1]

    def _first(self, last_event_id: str | None) -> Tick:
        """What a stream starts with: the missed ticks as one, a reset, or the bare state."""
        bare = replace(
            self._latest, scored=0, flagged=0, rows=(), more=0, dropped=0, is_reset=False
        )
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
    """One client's slot; iterate to get its events until it is ended."""

    def __init__(self, hub: Hub, first: Tick) -> None:
        self._hub = hub
        self._pending: Tick | None = first
        self._ready = asyncio.Event()
        self._ready.set()
        self._is_ended = False

    def offer(self, tick: Tick) -> None:
        """Put a tick into the slot, merged with one that still waits there."""
        self._pending = tick if self._pending is None else merge_ticks(self._pending, tick)
        self._ready.set()

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
        return self._hub.render(tick)


async def while_known(
    events: AsyncIterable[ServerSentEvent],
    is_known: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[ServerSentEvent]:
    """The events, until their reader is not known any more.

    None is given more than ``KNOWN_SECONDS`` after ``is_known`` last said yes. There is a tick a
    second at least, so an idle stream ends too.
    """
    asked = clock()
    async for event in events:
        if clock() - asked >= KNOWN_SECONDS:
            if not is_known():
                return
            asked = clock()
        yield event
