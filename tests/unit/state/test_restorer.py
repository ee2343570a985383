"""The restore thread: what it repeats, what it gives up, and that nothing ends it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.batch import build_batch
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects, StoreFault
from stream_scorer.state.eras import Eras, InputFacts, require_spec
from stream_scorer.state.faults import HistoryMismatch
from stream_scorer.state.requests import RestoreRequest, RestoreResult
from stream_scorer.state.restorer import ERA_SECONDS, Restorer
from stream_scorer.stream.memory_broker import MemoryCluster, Record
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import (
    encode_rows,
    fold,
    make_card_rows,
    make_era,
    make_history_bundle,
    write_snapshot,
)
from tests.support.state.memory_log import MemoryInputLog
from tests.support.state.world import Counted
from tests.support.waiting import wait_until

BUNDLE = make_history_bundle()
SPEC = require_spec(BUNDLE)
ROWS = make_card_rows(40)


@dataclass
class Bed:
    """One partition, whose group is at offset 30."""

    cache: HistoryCache | None = None
    continues: bool = False
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    now: float = 0.0
    counted: Counted = field(default_factory=Counted)
    checks: list[Exception | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(INPUT, 1)
        for value in encode_rows(ROWS):
            self.cluster.produce(0, Record(b"1", value))
        self.cluster.committed[0] = 30
        self.log = MemoryInputLog(self.cluster)
        self.store = HistoryStore(self.objects, is_trusted=True)
        self.era = make_era(SPEC)
        assert self.store.create_era(self.era)
        self.restorer = Restorer(
            self.store,
            Eras(self.store, InputFacts(INPUT, "", 1), 1000, self.cache),
            lambda: self.log,
            self.cache,
            check=self._check,
            continues_after_gap=self.continues,
            observer=self.counted,
            clock=lambda: self.now,
        )

    def _check(self) -> None:
        if self.checks and (fault := self.checks.pop(0)) is not None:
            raise fault

    def follow(self) -> Era | None:
        self.restorer.follow(BUNDLE)
        self.restorer.work_once()
        return self.restorer.follow(BUNDLE)

    def request(self, era: Era | None = None) -> RestoreRequest:
        request = RestoreRequest(0, 1, SPEC, era or self.era)
        self.restorer.submit(request)
        return request

    def result(self) -> RestoreResult | None:
        """After one piece of work."""
        self.restorer.work_once()
        results = self.restorer.take()
        assert len(results) < 2
        return results[0] if results else None


def state_of(result: RestoreResult | None) -> PartitionHistory:
    assert result is not None
    assert result.error is None
    assert result.restored is not None
    assert result.offset == result.restored.state.offset
    return result.restored.state.history


def test_restored_state_is_given_back_with_the_offset_to_read_from() -> None:
    bed = Bed()
    assert bed.follow() == bed.era
    bed.request()
    history = state_of(bed.result())
    assert history.check_sum() == fold(SPEC, build_batch(ROWS[:30]))[1].check_sum()
    assert bed.counted.restores == {"unchecked": 1}
    assert bed.counted.rows == 30


def test_without_an_era_only_the_offset_is_found() -> None:
    bed = Bed()
    request = RestoreRequest(0, 1)
    bed.restorer.submit(request)
    assert bed.result() == RestoreResult(request, 30)
    bed.cluster.committed.clear()
    bed.log.low[0] = 7
    again = RestoreRequest(0, 1)
    bed.restorer.submit(again)
    assert bed.result() == RestoreResult(again, 7)


def test_failed_restore_is_repeated_later_and_later_and_says_why() -> None:
    bed = Bed()
    bed.follow()
    request = bed.request()
    bed.log.faults = [RetryableError("no broker answers")] * 3
    assert bed.result() is None
    assert request.problem == "no broker answers"
    waits = []
    for _ in range(3):
        began = bed.now
        while not bed.restorer.work_once():
            bed.now += 0.25
        waits.append(bed.now - began)
    assert waits[0] < waits[1] < waits[2]
    (found,) = bed.restorer.take()
    state_of(found)
    assert bed.counted.restores["failed"] == 3


def test_another_request_is_worked_on_while_one_waits_for_its_repetition() -> None:
    bed = Bed()
    bed.follow()
    bed.request()
    bed.log.faults = [RetryableError("no broker answers")]
    assert bed.result() is None
    locate = RestoreRequest(0, 2)
    bed.restorer.submit(locate)
    found = bed.result()
    assert found is not None
    assert found.request is locate


def test_abandoned_request_is_forgotten() -> None:
    bed = Bed()
    bed.follow()
    request = bed.request()
    request.is_abandoned = True
    assert not bed.restorer.work_once()
    assert bed.restorer.take() == []


def test_request_abandoned_in_the_middle_has_no_result() -> None:
    bed = Bed()
    bed.follow()
    request = bed.request()
    bed.log.before_read = lambda: setattr(request, "is_abandoned", True)
    assert bed.result() is None
    assert bed.counted.restores == {}
    assert len(bed.log.reads) == 1


def test_mismatch_and_fatal_errors_are_results_and_not_repeated() -> None:
    bed = Bed()
    bed.follow()
    bed.cluster.marks[0] = f"era=1;sum={'0' * 16};spec={SPEC.fingerprint[:16]}"
    bed.request()
    found = bed.result()
    assert found is not None
    assert isinstance(found.error, HistoryMismatch)
    bed.log.faults = [FatalError("not authorized for the dead letters")]
    bed.request()
    found = bed.result()
    assert found is not None
    assert isinstance(found.error, FatalError)
    assert not bed.restorer.work_once()
    assert bed.counted.restores == {"mismatch": 1, "failed": 1}


def test_fault_in_the_code_is_repeated_and_logged_with_its_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bed = Bed()
    bed.follow()
    request = bed.request()
    bed.log.faults = [ZeroDivisionError("a fault")]
    assert bed.result() is None
    assert request.problem == "ZeroDivisionError: a fault"
    assert "Traceback" in caplog.text
    bed.now += 1
    state_of(bed.result())


def test_damaged_snapshots_are_counted() -> None:
    bed = Bed()
    bed.follow()
    write_snapshot(bed.store, bed.era, 0, 20, fold(SPEC, build_batch(ROWS[:20]))[1], check_sum=1)
    bed.request()
    state_of(bed.result())
    assert bed.counted.damaged == 1


def test_snapshot_and_era_of_the_cache_serve_while_the_store_is_down(tmp_path: Path) -> None:
    cache = HistoryCache(tmp_path)
    bed = Bed(cache=cache)
    bed.follow()
    key = write_snapshot(bed.store, bed.era, 0, 20, fold(SPEC, build_batch(ROWS[:20]))[1])
    stored = bed.objects.read(key, 2**30)
    assert stored is not None
    cache.save(bed.era, stored.content)
    down = Bed(cache=cache, objects=MemoryObjects())
    down.objects.script([StoreFault("unavailable", times=1000)])
    assert down.follow() == bed.era
    down.request(bed.era)
    assert state_of(down.result()).check_sum() == fold(SPEC, build_batch(ROWS[:30]))[1].check_sum()
    assert down.counted.rows == 10


def test_store_that_lost_all_snapshots_costs_a_longer_replay() -> None:
    bed = Bed()
    bed.follow()
    key = write_snapshot(bed.store, bed.era, 0, 20, fold(SPEC, build_batch(ROWS[:20]))[1])
    bed.objects.remove(key)
    bed.request()
    state_of(bed.result())
    assert bed.counted.rows == 30


def test_gap_stops_or_begins_a_new_era() -> None:
    stopping = Bed()
    stopping.follow()
    stopping.log.low[0] = 12
    request = stopping.request()
    assert stopping.result() is None
    assert "needs inputs from offset 0" in (request.problem or "")
    assert stopping.store.eras(SPEC.fingerprint) == [1]
    going = Bed(continues=True)
    going.follow()
    going.log.low[0] = 12
    going.request()
    assert going.result() is None
    era = going.follow()  # looked for at once
    assert era is not None
    assert (era.number, era.begin) == (2, (12,))
    going.restorer._queue.clear()
    going.request(era)
    assert state_of(going.result()).check_sum() == (
        fold(SPEC, build_batch(ROWS[12:30]))[1].check_sum()
    )


def test_new_era_is_noticed_in_time_and_no_store_is_asked_for_what_nobody_needs() -> None:
    bed = Bed()
    bed.follow()
    bed.store.create_era(make_era(SPEC, number=2, id="2" * 32))
    bed.now += ERA_SECONDS - 1
    assert bed.follow() == bed.era
    bed.now += 2
    found = bed.follow()
    assert found is not None
    assert found.number == 2
    bed.now += 10 * ERA_SECONDS
    assert not bed.restorer.work_once()


def test_topics_are_checked_before_the_first_era_is_used() -> None:
    bed = Bed(checks=[FatalError("topic in is compacted")])
    assert bed.follow() is None
    assert isinstance(bed.restorer.problem(BUNDLE), FatalError)
    bed.now += 60
    assert bed.follow() == bed.era
    assert bed.restorer.problem(BUNDLE) is None


def test_unusable_era_is_fatal_for_who_needs_it() -> None:
    bed = Bed()
    bed.restorer._eras = Eras(bed.store, InputFacts("elsewhere", "", 1), 1000)
    assert bed.follow() is None
    assert isinstance(bed.restorer.problem(BUNDLE), FatalError)


def test_thread_starts_with_the_first_request_and_ends() -> None:
    bed = Bed()
    bed.restorer.start()
    assert threading.active_count() == len(
        [t for t in threading.enumerate() if t.name != "history-restore"]
    )
    bed.restorer.follow(BUNDLE)
    wait_until(lambda: bed.restorer.follow(BUNDLE), what="the era")
    bed.request()
    results: list[RestoreResult] = []

    def is_restored() -> bool:
        results.extend(bed.restorer.take())
        return bool(results)

    wait_until(is_restored, what="the restore")
    state_of(results[0])
    bed.restorer.stop()
    assert "history-restore" not in [t.name for t in threading.enumerate()]
    assert bed.log.closed
