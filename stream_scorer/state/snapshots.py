"""Snapshots of the owned histories: which partition is due, and the thread that writes them.

The loop's thread only copies the records of a committed state, which takes milliseconds. Sorting,
encoding and writing happen in a thread of their own, one snapshot at a time. A snapshot needs no
fence: its content follows from era, partition and offset, so a former owner writes the same bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from stream_scorer.errors import ScorerError
from stream_scorer.features.history.codec import encode_snapshot
from stream_scorer.features.history.header import Compression
from stream_scorer.features.history.partition import records_sum, sort_records
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.runtime.backoff import backoff_seconds
from stream_scorer.state.input_log import InputLog
from stream_scorer.state.partitions import OwnedState, OwnedStates

log = logging.getLogger(__name__)

SnapshotResult = Literal["created", "same", "different", "failed"]

WRITER: Final = "scorer "
"""Begins the writer of a snapshot that a scorer wrote: its era is in use there."""

LAST_DEBT_RECORDS: Final = 50_000
"""At the end of a process, partitions with a larger debt get a snapshot: replaying less takes a
successor under a second."""

_LOOK_SECONDS: Final = 0.1  # between two looks at what is due
_FIRST_RETRY_SECONDS: Final = 5.0
_LAST_RETRY_SECONDS: Final = 60.0
_IDLE_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 5.0
_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """When a snapshot is due, and how long it is kept.

    Attributes:
        replay_max: a process keeps the inputs that successors would have to replay below this.
        seconds: a partition that receives inputs has no older snapshot.
        keep_days: the first snapshot of each day is kept for so long.
        compression: of the records.
    """

    replay_max: int = 1_500_000
    seconds: float = 600.0
    keep_days: int = 35
    compression: Compression = "zlib"


class SnapshotObserver(Protocol):
    """Is notified of snapshots, in their thread."""

    def snapshot(self, result: SnapshotResult, seconds: float) -> None:
        """A snapshot was written, or an attempt has failed."""
        ...


class NoSnapshotObserver:
    """Counts nothing."""

    def snapshot(self, result: SnapshotResult, seconds: float) -> None:
        """Not counted."""


class Retries:
    """When each partition may be tried again. One that always fails keeps no other from its turn.

    The snapshot thread writes it, and the loop's thread reads it.
    """

    def __init__(self) -> None:
        self._failures: dict[int, tuple[int, float]] = {}

    def fail(self, partition: int, now: float) -> None:
        """The partition failed once more, at ``now`` on a monotonic clock."""
        failures = self._failures.get(partition, (0, 0.0))[0] + 1
        wait = backoff_seconds(failures, _FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        self._failures[partition] = (failures, now + wait)

    def succeed(self, partition: int) -> None:
        """Forget the partition's failures."""
        self._failures.pop(partition, None)

    def put_off(self, partition: int, until: float) -> None:
        """Do not try the partition before a time."""
        self._failures[partition] = (self._failures.get(partition, (0, 0.0))[0], until)

    def may_try(self, partition: int, now: float) -> bool:
        """Whether the partition's wait is over, or there is none."""
        return now >= self._failures.get(partition, (0, float("-inf")))[1]


@dataclass(slots=True, eq=False)
class _Job:
    """A snapshot on its way. The snapshot thread sets the last three, ``is_done`` last of all."""

    spec: HistorySpec
    era: Era
    partition: int
    owned: OwnedState
    offset: int
    dead_letter_offset: int
    records: PartitionRecords
    created: datetime | None = None
    dead_letter_end: int | None = None
    is_done: bool = False


class SnapshotWriter:
    """Writes snapshots; the loop's thread calls :meth:`serve` and :meth:`finish`.

    Args:
        store: the artifact store.
        open_log: opens what has the end of the dead letters; called in the thread.
        policy: when a snapshot is due.
        writer: names this process in the snapshots.
        cache: gets a copy of each snapshot.
        observer: is notified.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: HistoryStore,
        open_log: Callable[[], InputLog],
        policy: SnapshotPolicy,
        writer: str,
        cache: HistoryCache | None = None,
        observer: SnapshotObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._open_log = open_log
        self._policy = policy
        self._writer = WRITER + writer
        self._cache = cache
        self._observer = observer or NoSnapshotObserver()
        self._clock = clock
        self._log: InputLog | None = None
        self._job: _Job | None = None
        self._looked_at = float("-inf")
        self._retries = Retries()
        self._pruned_ended_at: dict[str, float] = {}
        self._wake = threading.Event()
        self._may_run = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name="history-snapshots", daemon=True)

    # In the loop's thread

    def serve(self, states: OwnedStates | None) -> None:
        """Note a snapshot that was written, or copy a state whose snapshot is due."""
        job = self._job
        if job is not None:
            if job.is_done:
                self._end(job)
        elif states is not None and self._begin(states):
            if self._may_run and not self._is_stopping and not self._thread.is_alive():
                self._thread.start()
            self._wake.set()

    def finish(self, states: OwnedStates | None, deadline: float) -> None:
        """Write snapshots of large debts, the largest first, until a time on the clock.

        The loop has ended, and its last batch is committed or rolled back. What is not written in
        time is replayed by the partitions' next owners.
        """
        self.stop()
        if states is None or self._thread.is_alive():  # it still writes one
            return
        due = [(p, owned) for p, owned in states.items() if owned.debt > LAST_DEBT_RECORDS]
        for partition, owned in sorted(due, key=lambda one: -one[1].debt):
            if self._clock() >= deadline:
                log.info("no time for a snapshot", extra={"partition": partition})
                continue
            try:
                self._write(_copy(states, partition, owned))
            except Exception as error:  # it must not end the process otherwise
                log.warning("no last snapshot of partition %d: %s", partition, error)
        self._close()

    def _begin(self, states: OwnedStates) -> bool:
        now = self._clock()
        if now < self._looked_at + _LOOK_SECONDS:
            return False
        self._looked_at = now
        ready = [(p, owned) for p, owned in states.items() if self._retries.may_try(p, now)]
        found = find_due(ready, self._policy, datetime.now(UTC))
        if found is None:
            return False
        self._job = _copy(states, *found)
        return True

    def _end(self, job: _Job) -> None:
        self._job = None
        state = job.owned.state
        if job.created is not None and job.offset > state.snapshot_offset:
            state.snapshot_offset, state.snapshot_at = job.offset, job.created
        if job.dead_letter_end is not None:
            job.owned.learn_dead_letter_end(job.dead_letter_end)

    # In the snapshot thread

    def start(self) -> None:
        """Let the thread start with the first snapshot: processes without history need none."""
        self._may_run = True

    def stop(self) -> None:
        """Stop it, without waiting long for a write in progress."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def work_once(self) -> bool:
        """Write the snapshot whose records were copied; whether there was one."""
        job = self._job
        if job is None or job.is_done:
            return False
        started = self._clock()
        try:
            self._write(job)
        except Exception as error:
            self._fail(job, error, self._clock() - started)
        job.is_done = True
        return True

    def _work(self) -> None:
        while not self._is_stopping:
            if not self.work_once():
                self._wake.wait(_IDLE_SECONDS)
                self._wake.clear()
        self._close()

    def _inputs(self) -> InputLog:
        if self._log is None:
            self._log = self._open_log()
        return self._log

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _fail(self, job: _Job, error: Exception, seconds: float) -> None:
        self._observer.snapshot("failed", seconds)
        self._retries.fail(job.partition, self._clock())
        log.warning(
            "cannot write a snapshot of partition %d: %s; it will be tried again", job.partition,
            error, exc_info=None if isinstance(error, ScorerError) else error,
        )  # fmt: skip

    def _write(self, job: _Job) -> None:
        started = self._clock()
        records = sort_records(job.records)
        created = datetime.now(UTC)
        header = job.era.header(
            job.partition,
            job.offset,
            dead_letter_offset=job.dead_letter_offset,
            check_sum=records_sum(job.spec, records),
            writer=self._writer,
            created=created,
        )
        content = encode_snapshot(header, records, self._policy.compression)
        result = self._store.create_snapshot(job.era, content)
        self._retries.succeed(job.partition)
        self._observer.snapshot(result, self._clock() - started)
        where = {"partition": job.partition, "offset": job.offset, "era": job.era.number}
        if result == "different":
            # Otherwise it would be due again at once.
            self._retries.put_off(job.partition, self._clock() + _LAST_RETRY_SECONDS)
            log.error(
                "two processes computed different histories of partition %d at offset %d; the "
                "snapshot that is stored was kept. See the runbook HistoryMismatch",
                job.partition, job.offset, extra=where,
            )  # fmt: skip
        else:
            seconds = round(self._clock() - started, 3)
            facts = {**where, "bytes": len(content), "seconds": seconds}
            log.info("snapshot %s", result, extra=facts)
            job.created = created
            if self._cache is not None:
                self._cache.save(job.era, content)
        self._prune(job, created)
        if self._is_stopping:  # there is no next snapshot
            return
        try:  # for the next snapshot of the partition: see OwnedState.commit
            job.dead_letter_end = self._inputs().stable_dead_letter_end(job.partition)
        except ScorerError as error:
            log.info("cannot look up the end of the dead letters: %s", error)

    def _prune(self, job: _Job, now: datetime) -> None:
        keep_days = self._policy.keep_days
        try:
            self._store.prune(job.era, job.partition, job.offset, keep_days=keep_days, now=now)
            last = self._pruned_ended_at.get(job.era.spec, float("-inf"))
            if self._clock() > last + _DAY_SECONDS:
                self._pruned_ended_at[job.era.spec] = self._clock()
                self._store.prune_ended(job.era, keep_days=keep_days, now=now)
        except ScorerError as error:
            log.info("cannot remove old snapshots now: %s", error)


def find_due(
    owned: Iterable[tuple[int, OwnedState]], policy: SnapshotPolicy, now: datetime
) -> tuple[int, OwnedState] | None:
    """The partition whose snapshot is due next, if one is.

    If the process has too large a debt, it is the partition with the largest; otherwise the one
    with the oldest snapshot, if that is too old.
    """
    indebted = [(p, one) for p, one in owned if one.debt > 0]
    if not indebted:
        return None
    if sum(one.debt for _, one in indebted) > policy.replay_max:
        return max(indebted, key=lambda found: found[1].debt)
    oldest = max(indebted, key=lambda found: found[1].snapshot_age(now))
    return oldest if oldest[1].snapshot_age(now) > policy.seconds else None


def _copy(states: OwnedStates, partition: int, owned: OwnedState) -> _Job:
    """The state of the last committed batch: open steps are left out."""
    state = owned.state
    return _Job(
        states.spec,
        states.era,
        partition,
        owned,
        state.offset,
        state.dead_letter_offset,
        state.history.copy(),
    )
