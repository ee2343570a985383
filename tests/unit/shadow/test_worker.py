"""Whatever the challenger does, the champion's outcome is the same, bit for bit."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.scoring import score
from stream_scorer.shadow.models import BundleModel, ChallengerEnded
from stream_scorer.shadow.ports import Shed
from stream_scorer.shadow.selection import choose
from stream_scorer.shadow.worker import ShadowOptions
from stream_scorer.stream.memory_broker import Record
from tests.support.factories import make_batch, make_bundle
from tests.support.scoring_kit import ALWAYS, INPUT, NEVER, make_values, read_score
from tests.support.shadow.kit import SECONDS, SHADOW, Clock, Gate, make_shadowed, misbehaving

POISON: list[bytes | None] = [*make_values(15), b"hello", None, *make_values(20, seed=6)]


def fail() -> None:
    raise ZeroDivisionError("no such leaf")


def run_out_of_memory() -> None:
    raise MemoryError("2 GiB")


def exit_thread() -> None:
    raise SystemExit(3)


def champion_alone(ahead_from: int) -> list[tuple[int, Record]]:
    alone = make_shadowed(None, values=POISON, ahead_from=ahead_from)
    alone.drain()
    assert alone.sink.records == []
    assert all(outcome.basis is None for outcome in alone.seen.outcomes)
    return alone.output()


@pytest.mark.parametrize("ahead_from", [NEVER, ALWAYS])
@pytest.mark.parametrize("before", [lambda: None, fail, run_out_of_memory, exit_thread])
def test_champions_output_is_bit_equal_whatever_the_challenger_does(
    before: Callable[[], object], ahead_from: int
) -> None:
    shadowed = make_shadowed(misbehaving(before), values=POISON, ahead_from=ahead_from)
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.output() == champion_alone(ahead_from)
    assert shadowed.seen.reasons == []
    events = shadowed.events
    assert events.figures.rows + events.errors + sum(events.left_out.values()) <= len(POISON) - 2
    assert (events.figures.rows == len(POISON) - 2) == (events.errors == 0)
    shadowed.worker.stop()


def test_challenger_that_hangs_is_given_up_and_the_champion_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, clock = Gate(), Clock()
    shadowed = make_shadowed(misbehaving(gate), values=POISON, clock=clock)
    shadowed.loop.run_once()
    assert gate.entered.wait(SECONDS)
    clock.now = 31.0
    with caplog.at_level(logging.ERROR):
        shadowed.drain()
        shadowed.worker.check()
    assert caplog.text.count("the challenger hung for 30 s and is given up") == 1
    assert shadowed.output() == champion_alone(NEVER)
    assert shadowed.events.is_disabled
    assert shadowed.events.versions == ["v2", None]
    shadowed.use(make_bundle("v3"))
    assert shadowed.worker.challenger is None
    threads = [thread for thread in threading.enumerate() if thread.name == "shadow"]
    gate.open()
    for thread in threads:
        thread.join(SECONDS)
    assert shadowed.sink.records == []  # what it brings back too late is dropped
    assert shadowed.events.figures.rows == 0


def test_slow_challenger_leaves_out_what_its_queue_does_not_hold() -> None:
    gate = Gate()
    shadowed = make_shadowed(misbehaving(gate), ShadowOptions(max_batches=2))
    shadowed.loop.run_once()
    assert gate.entered.wait(SECONDS)
    shadowed.drain()
    gate.open()
    assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.output() == shadowed_alone()
    assert shadowed.events.figures.rows == 15  # one at work, two in the queue
    assert shadowed.events.left_out == Counter(queue=25)
    assert shadowed.loop.in_flight == 0
    shadowed.worker.stop()


def shadowed_alone() -> list[tuple[int, Record]]:
    alone = make_shadowed(None)
    alone.drain()
    return alone.output()


def test_queue_is_bounded_by_bytes_too() -> None:
    shadowed = make_shadowed(make_bundle("v2", 2), ShadowOptions(max_bytes=1000))
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.events.left_out == Counter(queue=40)
    assert shadowed.output() == shadowed_alone()
    shadowed.worker.stop()


@pytest.mark.parametrize("reason", ["behind", "cpu"])
def test_scorer_without_time_keeps_nothing_for_the_challenger(reason: Shed) -> None:
    shadowed = make_shadowed(make_bundle("v2", 2), refusal=lambda: reason)
    shadowed.drain()
    assert shadowed.events.left_out == Counter({reason: 40})
    assert all(outcome.basis is None for outcome in shadowed.seen.outcomes)
    shadowed.worker.stop()


def test_version_is_put_aside_after_failures_in_a_row_and_said_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shadowed = make_shadowed(misbehaving(fail), ShadowOptions(max_batches=100, max_errors=3))
    with caplog.at_level(logging.WARNING):
        shadowed.drain()
        assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.worker.put_aside == {"v2"}
    assert shadowed.events.errors == 15
    assert shadowed.events.refusals == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "failed 3 batches in a row and is put aside: ZeroDivisionError" in caplog.text
    shadowed.use(misbehaving(fail))
    assert shadowed.worker.challenger is None
    shadowed.use(make_bundle("v3", 2))
    assert shadowed.events.versions == ["v2", None, "v3"]
    shadowed.worker.stop()


def test_challenger_whose_process_ended_is_put_aside_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def end() -> None:
        raise ChallengerEnded("its process was killed by signal 9")

    shadowed = make_shadowed(misbehaving(end))
    with caplog.at_level(logging.ERROR):
        shadowed.drain()
        assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.worker.put_aside == {"v2"}
    assert (shadowed.events.errors, shadowed.events.refusals) == (5, 1)
    assert "is put aside: its process was killed by signal 9" in caplog.text
    assert shadowed.output() == shadowed_alone()
    shadowed.worker.stop()


def test_replaced_or_unwanted_challenger_is_closed() -> None:
    class Closing(BundleModel):
        closed = 0

        def close(self) -> None:
            Closing.closed += 1
            super().close()

    shadowed = make_shadowed(None)

    def made(version: str) -> Closing:
        return Closing(make_bundle(version), 1.0, TransactionDecoder(LocalSchemas()), shadowed.sink)

    worker = shadowed.worker
    worker.use(made("v2"))
    worker.use(made("v3"))
    assert Closing.closed == 1
    worker.put_away("v3")
    assert Closing.closed == 2
    worker.use(made("v3"))  # it was put away
    assert Closing.closed == 3
    worker.stop()
    worker.use(made("v4"))  # too late
    assert Closing.closed == 4
    assert worker.challenger is None


def test_queue_that_raises_never_reaches_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise OSError("no lag")

    shadowed = make_shadowed(make_bundle("v2", 2), refusal=broken)
    shadowed.drain()
    assert shadowed.output() == shadowed_alone()
    assert "the challenger's queue failed" in caplog.text
    shadowed.worker.stop()


def test_scores_have_the_coordinates_keys_and_results_of_the_challenger() -> None:
    challenger = make_bundle("v2", 2, review=0.2)
    shadowed = make_shadowed(challenger)
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    champion = {_place(r.value): (p, r) for p, r in shadowed.cluster.read("fraud-scores")}
    expected = score(make_batch(40, 5), challenger)
    assert len(shadowed.sink.records) == 40
    for record in shadowed.sink.records:
        found = read_score(record.value)
        partition, other = champion[_place(record.value)]
        assert (record.topic, record.partition, record.key) == (SHADOW, partition, other.key)
        row = found["transaction_id"] - 1
        assert found["score"] == expected.scores[row]
        assert found["decision"] == ("APPROVE", "REVIEW", "BLOCK")[expected.decisions[row]]
        assert (found["model_version"], found["review_threshold"]) == ("v2", 0.2)
        assert len(found["reasons"]) == len(expected.reasons.get(row, ()))
        assert dict(record.headers)["model-version"] == b"v2"
    moves = shadowed.events.figures.moves
    assert moves.sum(axis=0).tolist() == np.bincount(expected.decisions, minlength=3).tolist()
    shadowed.worker.stop()


def _place(value: bytes | None) -> tuple[int, int]:
    source = read_score(value)["source"]
    return source["partition"], source["offset"]


def test_share_decides_by_source_coordinates_which_rows_are_scored() -> None:
    shadowed = make_shadowed(make_bundle("v2", 2), share=0.5)
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    rows = [(p, o) for p in (0, 1) for o in range(20)]
    partitions, offsets = (np.array(column) for column in zip(*rows, strict=True))
    wanted = choose(INPUT, partitions.astype(np.int32), offsets.astype(np.int64), 0.5)
    places = sorted(_place(record.value) for record in shadowed.sink.records)
    assert places == [row for row, is_wanted in zip(rows, wanted, strict=True) if is_wanted]
    assert 5 < len(places) < 35
    shadowed.worker.stop()


def test_full_producer_and_missing_topic_cost_scores_and_nothing_else() -> None:
    shadowed = make_shadowed(make_bundle("v2", 2))
    shadowed.sink.room = 7
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.events.left_out == Counter(publish=33)
    shadowed.worker.stop()
    closed = make_shadowed(make_bundle("v2", 2))
    closed.sink.is_open = False
    closed.drain()
    assert closed.worker.wait_idle(SECONDS)
    assert closed.events.figures.rows == 40
    assert closed.sink.records == []
    assert closed.output() == shadowed.output()
    closed.worker.stop()


def test_promoted_challenger_no_longer_scores_beside_itself() -> None:
    shadowed = make_shadowed(make_bundle("v1"))
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    assert shadowed.events.figures.rows == 0
    assert shadowed.events.left_out == Counter()
    shadowed.worker.stop()


def test_rows_without_a_finite_score_are_errors_and_the_others_are_scored() -> None:
    challenger = make_bundle("v2", 2)
    inner = challenger.predictor

    class Partly:
        base = inner.base
        contributions = inner.contributions

        def explained(self, matrix: object, choose: object) -> object:
            found = inner.explained(matrix, choose)  # type: ignore[arg-type]  # as given
            found.raw[0] = np.nan
            return found

    broken = replace(challenger, predictor=Partly())  # type: ignore[arg-type]  # only what is used
    shadowed = make_shadowed(broken)
    shadowed.drain()
    assert shadowed.worker.wait_idle(SECONDS)
    assert (shadowed.events.errors, shadowed.events.figures.rows) == (8, 32)
    assert len(shadowed.sink.records) == 32
    shadowed.worker.stop()
