"""``PREDICT_HISTORY=follow``: the histories of the scorers at their committed offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest

from dashboard.history.following import Follower
from dashboard.history.keeper import LOOK_SECONDS, RETRY_SECONDS, FollowOptions, StoredHistories
from dashboard.history.partitions import STEP_ROWS, LoadedPartition
from dashboard.predicting import predict
from schemas.batch import build_batch
from schemas.rejections import Stage
from stream_scorer.dead_letters.repeats import REDRIVEN_STAGE
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import StoreFault
from stream_scorer.runtime.json_fields import format_time
from stream_scorer.state.faults import MISMATCH_RUNBOOK
from stream_scorer.state.input_log import Place
from tests.support.dashboard_kit import Clock, StaticModel
from tests.support.history.scored_stream import (
    NOW,
    PARTITIONS,
    TOPIC,
    ScoredStream,
    make_era,
    make_rows,
    stored,
)
from tests.support.history.snapshots import next_era

ROOM = 10**9


class World:
    """A stream whose first 300 inputs are scored and stored, and a dashboard that follows it."""

    def __init__(self, stream: ScoredStream | None = None) -> None:
        self.stream = stream or ScoredStream()
        self.stream.produce(make_rows(300))
        self.stream.score()
        self.store, self.objects = stored(self.stream)
        self.stream.store_snapshots(self.store)
        self.clock = Clock()
        self.histories = self.open(self.store)

    def open(self, store: HistoryStore, room: int = ROOM) -> StoredHistories:
        follow = FollowOptions(self.stream.open, TOPIC)
        model = StaticModel(self.stream.bundle)
        return StoredHistories(model, store, room, follow, self.clock)

    def tick(self, seconds: float = 1.0) -> None:
        self.clock.now += seconds
        self.histories.tick()

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[dict[str, Any]]]:
        body = orjson.dumps({"transactions": list(rows)})
        answer = predict(body, self.stream.bundle, self.histories)
        return answer.predictions, [result["history"] for result in answer.results]

    def problem(self) -> str:
        status = self.histories.status()
        assert status is not None
        return status.problem

    def assert_equal_to_the_stream(self) -> None:
        """Features and scores of the next input, bit for bit, and what they are based on."""
        rows = make_rows(40, self.stream.count + 1)
        predictions, notes = self.ask(rows)
        assert predictions == [self.stream.next_score(row) for row in rows]
        body = orjson.dumps({"transactions": rows})
        assert predictions != predict(body, self.stream.bundle).predictions
        columns = self.histories.read(build_batch(rows), self.stream.spec).columns
        assert columns is not None
        expected = np.concatenate([self.stream.next_columns(row).values for row in rows])
        assert columns.values.tobytes() == expected.tobytes()
        assert np.isnan(expected).mean() < 0.5
        for row, note in zip(rows, notes, strict=True):
            partition = self.stream.partition_of(row)
            place = self.stream.committed[partition]
            assert (note["used"], note["partition"]) == (True, partition)
            assert note["offset"] == place.offset


@pytest.fixture
def world() -> World:
    return World()


def test_next_input_gets_the_score_that_the_stream_then_gives(world: World) -> None:
    world.tick()
    world.assert_equal_to_the_stream()
    for n in (1, 90, 7, 200):
        rows = make_rows(n, world.stream.count + 1)
        before, _ = world.ask(rows)
        places = world.stream.produce(rows)
        world.tick()
        assert world.ask(rows)[0] == before  # they are not committed yet
        world.stream.score()
        first_of_partition = {p: (p, o) for p, o in reversed(places)}
        for row, place, score in zip(rows, places, before, strict=True):
            if first_of_partition[place[0]] == place:
                assert world.stream.scores[place] == score, row
        world.tick()
        world.assert_equal_to_the_stream()


def test_as_of_is_the_time_at_which_the_committed_offsets_were_asked_for(world: World) -> None:
    times = iter([NOW + timedelta(seconds=s) for s in (10, 11, 12)])
    follower = Follower(world.stream.open(), lambda: False, lambda: next(times))
    world.histories._follower = follower
    world.tick()
    assert {n["as_of"] for n in world.ask(make_rows(9))[1]} == {"2026-01-31T12:00:10Z"}
    world.stream.is_down = True
    world.tick()
    assert {n["as_of"] for n in world.ask(make_rows(9))[1]} == {"2026-01-31T12:00:10Z"}
    assert "no broker answers" in world.problem()


def test_dead_letters_are_left_out_as_when_the_stream_was_scored(world: World) -> None:
    log = world.stream.open()
    world.histories._follower = Follower(log, lambda: False)
    world.tick()
    places = world.stream.produce(make_rows(60, 301))
    refused = {
        place: [Stage.DECODE, Stage.VALIDATE, Stage.SCORE, Stage.PUBLISH][i % 4]
        for i, place in enumerate(places[::5])
    }
    world.stream.score(refused)
    world.tick()
    world.assert_equal_to_the_stream()
    world.stream.produce(make_rows(20, 400))
    world.stream.score()
    world.tick()
    world.assert_equal_to_the_stream()
    assert world.problem() == ""
    assert log.dead_letters_read == len(refused)  # each once


def test_dead_letter_that_is_read_before_its_input_is_remembered(world: World) -> None:
    """It may be committed between the two requests for offsets and for the end of the log."""
    world.tick()
    places = world.stream.produce(make_rows(40, 301))
    ahead = dict.fromkeys(places[20:], Stage.DECODE)
    partitions = {p for p, _ in ahead}
    assert partitions == set(range(PARTITIONS))
    committed = dict(world.stream.committed)
    world.stream.score(ahead)
    whole = dict(world.stream.committed)
    for partition in partitions:  # a round that sees one input and all dead letters
        at = (committed[partition].offset or 0) + 1
        world.stream.committed[partition] = Place(at)
    world.tick()
    world.stream.committed = whole
    world.tick()
    world.assert_equal_to_the_stream()
    assert world.problem() == ""


def test_redriven_input_gets_no_second_place_in_the_history(world: World) -> None:
    world.tick()
    rows = make_rows(10, 301)
    world.stream.produce(rows)
    world.stream.score()
    world.stream.produce(rows, ((REDRIVEN_STAGE, b"score"),))
    world.stream.score()
    world.tick()
    world.assert_equal_to_the_stream()


def test_large_backlog_is_read_in_short_steps(world: World) -> None:
    world.stream.produce(make_rows(3 * STEP_ROWS * PARTITIONS, 301))
    world.stream.score({(p, 500): Stage.DECODE for p in range(PARTITIONS)})
    world.stream.read_at_once = 5000
    world.tick()
    world.assert_equal_to_the_stream()


def test_nothing_is_read_while_nothing_is_committed(world: World) -> None:
    log = world.stream.open()
    world.histories._follower = Follower(log, lambda: False)
    for _ in range(3):
        world.tick()
    assert (log.inputs_read, log.dead_letters_read) == (0, 0)
    world.assert_equal_to_the_stream()


def test_broker_that_is_down_leaves_the_histories_and_is_tried_again(world: World) -> None:
    world.tick()
    before = world.ask(make_rows(9, 400))[0]
    world.stream.produce(make_rows(50, 301))
    world.stream.score()
    world.stream.is_down = True
    world.tick()
    assert world.ask(make_rows(9, 400))[0] == before
    assert "no broker answers" in world.problem()
    world.stream.is_down = False
    world.tick(1)
    assert "no broker answers" in world.problem()  # not at once
    world.tick(RETRY_SECONDS)
    world.assert_equal_to_the_stream()
    assert world.problem() == ""


def test_partition_that_hangs_holds_back_itself_alone(world: World) -> None:
    world.histories._follower = Follower(
        world.stream.open(), lambda: False, lambda: NOW + timedelta(seconds=world.clock.now)
    )
    world.tick()
    world.stream.produce(make_rows(60, 301))
    world.stream.score()
    world.stream.hanging = 1
    world.tick()
    rows = make_rows(40, 400)
    predictions, notes = world.ask(rows)
    for row, prediction, note in zip(rows, predictions, notes, strict=True):
        partition = world.stream.partition_of(row)
        is_at_end = note["offset"] == world.stream.committed[partition].offset
        assert is_at_end is (partition != 1)
        seconds = world.clock.now - (partition == 1)
        assert note["as_of"] == format_time(NOW + timedelta(seconds=seconds))
        if is_at_end:
            assert prediction == world.stream.next_score(row)
    assert "could not be read" in world.problem()
    world.stream.hanging = None
    world.tick(RETRY_SECONDS)
    world.assert_equal_to_the_stream()
    assert world.problem() == ""


def test_newer_snapshots_are_used_while_no_broker_answers(world: World) -> None:
    world.tick()
    world.stream.produce(make_rows(50, 301))
    world.stream.score()
    world.stream.store_snapshots(world.store, NOW + timedelta(minutes=10))
    world.stream.is_down = True
    world.tick()
    world.tick(2 * LOOK_SECONDS)
    world.assert_equal_to_the_stream()
    assert {n["as_of"] for n in world.ask(make_rows(40, 400))[1]} == {"2026-01-31T12:10:00Z"}


def test_snapshots_are_not_loaded_again_while_the_stream_is_followed(world: World) -> None:
    world.tick()
    world.objects.script([StoreFault("unavailable", "read* history/*.snap", times=100)])
    world.stream.produce(make_rows(50, 301))
    world.stream.score()
    world.stream.store_snapshots(world.store, NOW + timedelta(minutes=10))
    world.tick(2 * LOOK_SECONDS)
    world.assert_equal_to_the_stream()
    assert world.problem() == ""


@pytest.mark.parametrize("what", ["inputs", "dead letters"])
def test_removed_records_hold_back_their_partition_alone(world: World, what: str) -> None:
    world.tick()
    world.stream.produce(make_rows(60, 301))
    refuse = {(p, len(world.stream.inputs[p]) - 1): Stage.DECODE for p in range(PARTITIONS)}
    world.stream.score(refuse)
    if what == "inputs":
        world.stream.first_input[1] = len(world.stream.inputs[1]) - 3
    else:
        world.stream.dead_letters[1].append((10**6, Stage.DECODE))
        world.stream.first_dead_letter[1] = 1
    world.tick()
    rows = make_rows(40, 400)
    predictions, notes = world.ask(rows)
    for row, prediction, note in zip(rows, predictions, notes, strict=True):
        if world.stream.partition_of(row) == 1:
            assert not note["used"]
            assert "partition 1: records from offset" in note["reason"]
        else:
            assert note["used"]
            assert prediction == world.stream.next_score(row)
    # A snapshot after the gap ends it.
    world.stream.store_snapshots(world.store, NOW + timedelta(hours=1))
    world.tick(2 * LOOK_SECONDS)
    world.tick()
    world.assert_equal_to_the_stream()


def test_history_that_differs_from_the_mark_is_not_used(world: World) -> None:
    world.tick()
    world.stream.produce(make_rows(30, 301))
    world.stream.score()
    place = world.stream.committed[2]
    forged = dict(place.mark) | {"sum": "0123456789abcdef"}
    world.stream.committed[2] = Place(place.offset, forged)
    world.tick()
    reasons = {n["reason"] for n in world.ask(make_rows(40, 400))[1] if not n["used"]}
    (reason,) = reasons
    assert "partition 2" in reason
    assert MISMATCH_RUNBOOK in reason
    world.stream.committed[2] = place
    world.tick(2 * LOOK_SECONDS)
    world.tick()
    world.assert_equal_to_the_stream()


def test_history_that_differs_each_time_is_loaded_less_and_less_often(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.tick()
    world.stream.produce(make_rows(30, 301))
    world.stream.score()
    place = world.stream.committed[2]
    world.stream.committed[2] = Place(place.offset, dict(place.mark) | {"sum": "0" * 16})
    for _ in range(240):
        world.tick(LOOK_SECONDS / 2)  # two hours
    failures = caplog.text.count("is not the one that its last scores were made with")
    assert 5 < failures < 10
    assert MISMATCH_RUNBOOK in world.problem()


@pytest.mark.parametrize(
    "mark", [{}, {"spec": "0" * 16, "era": "1", "sum": "0" * 16}, {"sum": "x"}, {"era": "-1"}]
)
def test_mark_of_another_model_or_of_none_says_nothing(world: World, mark: dict[str, str]) -> None:
    world.tick()
    world.stream.produce(make_rows(30, 301))
    world.stream.score()
    for partition, place in world.stream.committed.items():
        world.stream.committed[partition] = Place(place.offset, mark)
    world.tick()
    world.assert_equal_to_the_stream()
    assert world.problem() == ""


def test_offsets_of_a_recreated_topic_are_not_followed() -> None:
    world = World(ScoredStream(make_era(topic_id="first")))
    world.stream.produce(make_rows(30, 301))
    world.stream.score()
    for partition in range(PARTITIONS):
        world.stream.commit(partition, len(world.stream.inputs[partition]), t="second")
    world.tick()
    assert {n["used"] for n in world.ask(make_rows(9, 400))[1]} == {False}
    assert "id second" in world.problem()


def test_group_that_was_reset_backwards_is_followed_from_an_earlier_snapshot(world: World) -> None:
    earlier = dict(world.stream.committed)
    rows = make_rows(40, 401)
    expected = [world.stream.next_score(row) for row in rows]
    world.stream.produce(make_rows(100, 301))
    world.stream.score()
    world.stream.store_snapshots(world.store, NOW + timedelta(hours=1))
    world.tick()
    world.assert_equal_to_the_stream()
    world.stream.committed = earlier
    world.tick()
    world.tick()
    assert [world.stream.next_score(row) for row in rows] != expected
    predictions, notes = world.ask(rows)
    assert predictions == expected
    assert {(n["partition"], n["offset"]) for n in notes} == {
        (p, place.offset) for p, place in earlier.items()
    }


def test_new_era_is_followed_from_its_begin(world: World) -> None:
    world.tick()
    offsets = tuple(len(records) for records in world.stream.inputs)
    world.stream.begin_era(next_era(world.stream.era, begin=offsets))
    world.stream.produce(make_rows(30, 301))
    world.stream.score()
    world.tick()  # the marks are of an era that the store does not have yet
    assert world.store.create_era(world.stream.era)
    world.tick(RETRY_SECONDS + 1)  # they make it look before its time
    world.tick()
    world.assert_equal_to_the_stream()
    status = world.histories.status()
    assert status is not None
    assert status.era == 2


def test_history_of_another_topic_is_not_followed(world: World) -> None:
    follow = FollowOptions(world.stream.open, "others")
    histories = StoredHistories(StaticModel(world.stream.bundle), world.store, ROOM, follow)
    histories.tick()
    status = histories.status()
    assert status is not None
    assert not status.is_complete
    assert status.problem == "the history is of the topic transactions, and INPUT_TOPIC is others"


def test_histories_that_outgrow_their_memory_are_dropped(world: World) -> None:
    world.tick()
    status = world.histories.status()
    assert status is not None
    tight = world.open(world.store, status.nbytes)
    tight.tick()
    status = tight.status()
    assert status is not None
    assert status.loaded == PARTITIONS
    rows = [row | {"addr1": 1000.0 + i} for i, row in enumerate(make_rows(6000, 301))]
    world.stream.produce(rows)  # a client each
    world.stream.score()
    world.clock.now += 1
    tight.tick()
    status = tight.status()
    assert status is not None
    assert status.loaded < PARTITIONS
    assert "PREDICT_HISTORY_MAX_BYTES" in status.problem


def test_memory_that_runs_out_in_a_step_drops_that_partition_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tick()
    advance = LoadedPartition.advance

    def fail(one: LoadedPartition, found: Any) -> None:
        if one.partition == 1:
            raise MemoryError
        advance(one, found)

    monkeypatch.setattr(LoadedPartition, "advance", fail)
    world.stream.produce(make_rows(60, 301))
    world.stream.score()
    world.tick()
    rows = make_rows(40, 400)
    for row, note in zip(rows, world.ask(rows)[1], strict=True):
        assert note["used"] is (world.stream.partition_of(row) != 1)


def test_group_that_has_committed_nothing_leaves_the_begin_of_the_era() -> None:
    stream = ScoredStream()
    store, _ = stored(stream)
    clock = Clock()
    follow = FollowOptions(stream.open, TOPIC)
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, follow, clock)
    histories.tick()
    rows = make_rows(9)
    answer = predict(orjson.dumps({"transactions": rows}), stream.bundle, histories)
    assert answer.predictions == [stream.next_score(row) for row in rows]
    assert {result["history"]["offset"] for result in answer.results} == {0}
    assert all(datetime.fromisoformat(r["history"]["as_of"]) > NOW - timedelta(days=400)
               for r in answer.results)  # fmt: skip


def test_stop_ends_a_long_round_at_the_next_batch(world: World) -> None:
    world.stream.produce(make_rows(3000, 301))
    world.stream.score()
    asked = 0

    def is_stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    log = world.stream.open()
    world.histories._follower = Follower(log, is_stopped)
    world.tick()
    assert 0 < log.inputs_read < 100
