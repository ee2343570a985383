"""Looks up writers' schemas: remembered, many at a time, and with a verdict for each.

Nothing here knows HTTP. Whether a failure is one schema's or the registry's is decided by a
probe: while the registry answers another question, the failure belongs to the schema alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Final, NamedTuple

from schemas.contracts import AvroSchema
from schemas.recent import RecentlyUsed
from schemas.resolver import SchemaKey, UnknownSchema
from stream_scorer.errors import FatalError, RetryableError

NEGATIVE_SECONDS: Final = 30.0
"""How long an unknown schema is remembered. A stream of invalid records must not cause a stream of
requests, and a schema that is registered a little late must still be found."""

BATCH_SECONDS: Final = 5.0
"""How long a batch of the scorer waits for its look-ups, so that the loop keeps its heartbeat."""

COMMAND_BATCH_SECONDS: Final = 120.0
"""The same for a command, which has no heartbeat and does not retry."""

BATCH_LOOKUPS: Final = 1_000  # new ones per attempt; the answers stay until the batch is complete
THREADS: Final = 16  # 1,000 look-ups of 100 ms take 7 s
TRIES: Final = 2  # of a look-up that fails while the registry answers others
_PAUSE_SECONDS: Final = 0.3  # between them
_TROUBLED: Final = 10.0
"""A failure is remembered for this many times the time it took, if that is longer. So a schema
whose look-up hangs costs at most a tenth of the time."""

_MAX_FOUND: Final = 200  # parsed schemas, 0.2 MB each; decoders keep their own, smaller, plans
_MAX_UNKNOWN: Final = 10_000  # random ids must not exhaust the memory


_Use = Callable[[SchemaKey, AvroSchema], None]


class _Unknown(NamedTuple):
    """Why a schema is unknown, when that was learnt, and until when it holds."""

    reason: str
    since: float
    until: float


class SchemaLookups:
    """Schemas by key, from memory or from the registry. Safe to share between threads.

    Args:
        fetch: asks the registry for one schema. ``UnknownSchema`` is an answer; RetryableError and
            FatalError are failures, of this schema or of the registry.
        probe: asks the registry for something other than this schema, which it can answer if it
            works; raises as ``fetch``.
        batch_seconds: how long :meth:`resolve_all` waits.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        fetch: Callable[[SchemaKey], AvroSchema],
        probe: Callable[[SchemaKey], None],
        batch_seconds: float = BATCH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._probe = _Probe(probe)
        self._batch_seconds = batch_seconds
        self._clock = clock
        self._found: RecentlyUsed[SchemaKey, AvroSchema] = RecentlyUsed(_MAX_FOUND)
        self._unknown: RecentlyUsed[SchemaKey, _Unknown] = RecentlyUsed(_MAX_UNKNOWN)
        self._pending: dict[tuple[SchemaKey, _Use], Future[None]] = {}
        self._waiting_since: float | None = None
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="schema-lookup")

    def get(self, key: SchemaKey) -> AvroSchema:
        """One schema.

        Raises:
            UnknownSchema: there is no such schema, or the registry refuses or fails for it alone.
            RetryableError: the registry does not answer, or fails for everything.
            FatalError: the registry refuses our credentials.
        """
        if (schema := self._found.get(key)) is not None:
            return schema
        if (reason := self._known_reason(key)) is not None:
            raise UnknownSchema(reason)
        schema = self._look_up(key)
        self._unknown.trim()
        return schema

    def put(self, key: SchemaKey, schema: AvroSchema) -> None:
        """Remember a schema."""
        self._found.put(key, schema)
        self._found.trim()

    def resolve_all(self, keys: Iterable[SchemaKey], use: _Use) -> dict[SchemaKey, str]:
        """Pass each schema that is found to ``use``; return why the others are unknown.

        The look-ups run in threads of their own, which also call ``use``. Those that are not
        answered in time continue, and the answers are remembered until a later call has them all:
        a batch that is retried makes progress however slow the registry is.

        Raises:
            RetryableError, FatalError: as :meth:`get`; also if answers are outstanding.
        """
        if self._waiting_since is None:
            self._waiting_since = self._clock()
        unknown: dict[SchemaKey, str] = {}
        missing: list[SchemaKey] = []
        for key in keys:
            if (schema := self._found.get(key)) is not None:
                use(key, schema)
            elif (reason := self._known_reason(key)) is not None:
                unknown[key] = reason
            else:
                missing.append(key)
        if missing:
            self._wait_for(missing, use)
            unknown |= {k: why for k in missing if (why := self._known_reason(k)) is not None}
        self._waiting_since = None
        self._unknown.trim()
        return unknown

    def remembered(self) -> tuple[int, int]:
        """The number of schemas in memory that were found, and of those known to be unknown."""
        return len(self._found), len(self._unknown)

    def close(self) -> None:
        """Stop the look-ups; those that have begun may still take a request's time."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wait_for(self, keys: list[SchemaKey], use: _Use) -> None:
        """Wait until all these are answered; raises the error of one that could not be."""
        futures = [self._submit(key, use) for key in keys[:BATCH_LOOKUPS]]
        done, running = wait(futures, self._batch_seconds, return_when=FIRST_EXCEPTION)
        failed = next((e for f in done if (e := _error_of(f)) is not None), None)
        if failed is not None:
            for future in running:
                future.cancel()
            raise failed
        open_ = len(running) + len(keys[BATCH_LOOKUPS:])
        if open_:
            raise RetryableError(
                f"schema registry: {open_} of {len(keys)} schema look-ups are not answered after "
                f"{self._batch_seconds:g} s; they continue while the batch is retried"
            )

    def _submit(self, key: SchemaKey, use: _Use) -> Future[None]:
        pending = self._pending.get((key, use))
        if pending is not None and not pending.done():
            return pending

        def run() -> None:
            if self._closed.is_set():
                return
            with suppress(UnknownSchema):  # remembered
                use(key, self._look_up(key))

        future = self._pending[key, use] = self._pool.submit(run)
        future.add_done_callback(lambda _: self._pending.pop((key, use), None))
        return future

    def _known_reason(self, key: SchemaKey) -> str | None:
        known = self._unknown.get(key)
        if known is None:
            return None
        is_of_this_batch = self._waiting_since is not None and known.since >= self._waiting_since
        return known.reason if is_of_this_batch or self._clock() < known.until else None

    def _look_up(self, key: SchemaKey) -> AvroSchema:
        started = self._clock()
        try:
            schema = self._ask(key)
        except UnknownSchema as error:
            now = self._clock()
            until = now + max(NEGATIVE_SECONDS, _TROUBLED * (now - started))
            self._unknown.put(key, _Unknown(str(error), now, until))
            raise
        self.put(key, schema)
        return schema

    def _ask(self, key: SchemaKey) -> AvroSchema:
        for attempt in range(1, TRIES + 1):
            try:
                return self._fetch(key)
            except FatalError as error:
                self._probe.require(key, error)
                refused = str(error).partition("; check ")[0]  # our credentials are good elsewhere
                raise UnknownSchema(
                    f"{refused}. The registry answers other requests: allow this user to read the "
                    "schema's subject, then redrive"
                ) from error
            except RetryableError as error:
                self._probe.require(key, error)
                if attempt == TRIES or self._closed.wait(_PAUSE_SECONDS):
                    raise UnknownSchema(
                        f"{error}. The registry answers other requests: repair this schema there, "
                        "then redrive"
                    ) from error
        raise AssertionError("no attempt was made")


class _Probe:
    """Finds out whether the registry works, once for all look-ups that fail at the same time."""

    def __init__(self, probe: Callable[[SchemaKey], None]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._begun = 0
        self._passed = 0

    def require(self, key: SchemaKey, error: RetryableError | FatalError) -> None:
        """Return if the registry answers after ``error``, the failure of ``key``.

        Raises:
            RetryableError: ``error``, or its text, since the registry does not answer either.
            FatalError: ``error``, since the registry refuses everything.
        """
        before = self._begun
        with self._lock:
            if self._passed > before:  # a probe that began after the failure
                return
            self._begun += 1
            try:
                self._probe(key)
            except RetryableError as down:
                raise RetryableError(str(error)) from down
            except FatalError:
                raise error from None
            self._passed = self._begun


def _error_of(future: Future[None]) -> BaseException | None:
    try:
        return future.exception(0)
    except CancelledError:
        return RetryableError("schema registry: a look-up was cancelled")
