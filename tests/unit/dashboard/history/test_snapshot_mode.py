"""``PREDICT_HISTORY=snapshot``: the scores of the stream at the snapshot, or why there are none."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from dashboard.history import keeper
from dashboard.history.keeper import StoredHistories
from dashboard.history.past import LOADING, NO_CARD, OFF, NoHistories
from dashboard.predicting import Prediction, predict
from stream_scorer.features.history.codec import encode_seed
from stream_scorer.features.history.header import Body, SeedHeader
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec, read_space
from stream_scorer.model.store.history_era import EraSeed
from stream_scorer.model.store.memory_store import StoreFault
from tests.support.dashboard_kit import Clock, StaticModel, tiny_bundle
from tests.support.history.scored_stream import (
    NOW,
    PARTITIONS,
    ScoredStream,
    history_bundle,
    make_era,
    make_rows,
    stored,
)
from tests.support.history.small_spec import CARD, CLIENT, SPEC, history_of
from tests.support.history.snapshots import edit_header, next_era
from tests.support.waiting import wait_until

ROOM = 10**9
OTHER = HistorySpec((read_space(dict(CLIENT) | {"ttl_days": 31}), read_space(dict(CARD))))


def ask(rows: Sequence[Mapping[str, Any]], histories: Any, bundle: Any = None) -> Prediction:
    body = orjson.dumps({"transactions": list(rows)})
    return predict(body, bundle or history_bundle(), histories)


def notes(answer: Prediction) -> list[dict[str, Any]]:
    return [result["history"] for result in answer.results]


def look_again(histories: StoredHistories, clock: Clock) -> None:
    clock.now += 2 * keeper.LOOK_SECONDS
    histories.tick()


@pytest.fixture
def stream() -> ScoredStream:
    """A stream whose first 300 inputs are scored."""
    stream = ScoredStream()
    stream.produce(make_rows(300))
    stream.score()
    return stream


def next_scores(stream: ScoredStream, rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The score that the stream gives each row as the next input of its partition."""
    return [stream.next_score(row) for row in rows]


def test_score_is_the_one_that_the_stream_gives_at_the_offset_of_the_snapshot(
    stream: ScoredStream,
) -> None:
    store, _ = stored(stream)
    stream.store_snapshots(store)
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    histories.tick()
    rows = make_rows(12, first=301)
    answer = ask(rows, histories)
    assert answer.predictions == next_scores(stream, rows)
    for row, note in zip(rows, notes(answer), strict=True):
        partition = stream.partition_of(row)
        assert note == {
            "used": True,
            "as_of": "2026-01-31T12:00:00Z",
            "partition": partition,
            "offset": len(stream.inputs[partition]),
        }
    without = ask(rows, None)
    assert notes(without) == [{"used": False, "reason": OFF}] * 12
    assert without.predictions != answer.predictions
    assert notes(ask(rows, NoHistories(StaticModel(stream.bundle)))) == notes(without)


def test_transactions_of_a_request_do_not_see_each_other_and_nothing_is_written(
    stream: ScoredStream,
) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    histories.tick()
    before = {key: objects.read(key, 10**9) for key in objects.keys("")}
    (row,) = make_rows(1, first=301)
    alone = ask([row], histories).predictions
    again = [row | {"TransactionID": 9000 + i} for i in range(1000)]
    assert ask(again, histories).predictions == alone * 1000
    assert {key: objects.read(key, 10**9) for key in objects.keys("")} == before
    assert ask([row], histories).predictions == alone


@pytest.mark.parametrize("card", [None, 1000.5, 1e300])
def test_transaction_without_a_card_says_so_beside_others_that_have_one(
    stream: ScoredStream, card: float | None
) -> None:
    store, _ = stored(stream)
    stream.store_snapshots(store)
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    histories.tick()
    rows = make_rows(3, first=301)
    odd = rows[1] | {"card1": card}
    answer = ask([rows[0], odd, rows[2]], histories)
    assert [note["used"] for note in notes(answer)] == [True, False, True]
    assert notes(answer)[1] == {"used": False, "reason": NO_CARD}
    assert answer.predictions[1] == ask([odd], None).predictions[0]
    assert answer.past is not None
    assert answer.past.used == 2


def test_model_without_history_has_no_note_and_asks_for_nothing() -> None:
    class Untouched:
        """Fails when anything is asked."""

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    rows = make_rows(2)
    answer = ask(rows, Untouched(), tiny_bundle())
    assert answer.past is None
    assert all("history" not in result for result in answer.results)
    store = StoredHistories(StaticModel(tiny_bundle()), Untouched(), ROOM)  # type: ignore[arg-type]
    store.tick()
    assert store.status() is None


def test_newer_snapshot_replaces_the_one_of_its_partition_alone(stream: ScoredStream) -> None:
    store, _ = stored(stream)
    stream.store_snapshots(store)
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    row = make_rows(1, first=301)[0]
    partition = stream.partition_of(row)
    stream.produce([row])
    stream.score()
    newer = stream.snapshot(partition, NOW + timedelta(minutes=5))
    store.create_snapshot(stream.era, newer)
    rows = make_rows(30, first=302)
    first = {n["partition"]: n for n in notes(ask(rows, histories))}
    assert {n["as_of"] for n in first.values()} == {"2026-01-31T12:00:00Z"}
    look_again(histories, clock)
    second = {n["partition"]: n for n in notes(ask(rows, histories))}
    assert second[partition]["offset"] == first[partition]["offset"] + 1
    assert second[partition]["as_of"] == "2026-01-31T12:05:00Z"
    others = set(range(PARTITIONS)) - {partition}
    assert {p: second[p] for p in others} == {p: first[p] for p in others}
    status = histories.status()
    assert status is not None
    assert (status.loaded, status.partitions, status.as_of) == (PARTITIONS, PARTITIONS, NOW)


def test_snapshot_that_is_loaded_is_not_read_again(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    objects.script([StoreFault("unavailable", "read* history/*.snap", times=100)])
    look_again(histories, clock)
    status = histories.status()
    assert status is not None
    assert (status.loaded, status.problem) == (PARTITIONS, "")


@pytest.mark.parametrize("damage", ["torn", "longer", "check sum", "other bytes", "not a snapshot"])
def test_damaged_snapshot_is_counted_and_an_older_one_is_used(
    stream: ScoredStream, damage: str
) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    rows = make_rows(12, first=301)
    expected = next_scores(stream, rows)
    stream.produce(make_rows(60, first=400))
    stream.score()
    for partition in range(PARTITIONS):
        content = stream.snapshot(partition, NOW + timedelta(hours=1))
        if damage == "torn":
            content = content[:-9]
        elif damage == "longer":
            content += bytes(100_000)  # more than the room for the header, and never read whole
        elif damage == "check sum":
            content = edit_header(content, check_sum="0123456789abcdef")
        elif damage == "other bytes":
            content = content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
        else:
            content = b"\x1b[31mgarbage"
        offset = stream.committed[partition].offset
        assert offset is not None
        objects.create(stream.era.snapshot(partition, offset).key, content)
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    assert ask(rows, histories).predictions == expected
    for _ in range(3):  # it is known to be damaged, and not read and counted each time
        look_again(histories, clock)
    status = histories.status()
    assert status is not None
    assert (status.loaded, status.damaged) == (PARTITIONS, PARTITIONS)


def test_partition_without_an_intact_snapshot_says_why_and_others_go_on(
    stream: ScoredStream,
) -> None:
    stream.era = replace(stream.era, has_base=True)
    store, objects = stored(stream)
    stream.store_snapshots(store)
    bad = 1
    for name in store.snapshots(stream.era, bad):
        objects.overwrite(name.key, b"garbage")
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    rows = make_rows(30, first=301)
    for row, note in zip(rows, notes(ask(rows, histories)), strict=True):
        is_bad = stream.partition_of(row) == bad
        assert note["used"] is not is_bad
        if is_bad:
            assert note["reason"] == f"there is no intact snapshot of partition {bad}"
    objects.overwrite(store.snapshots(stream.era, bad)[0].key, stream.snapshot(bad))
    clock.now += 600
    look_again(histories, clock)
    assert all(note["used"] for note in notes(ask(rows, histories)))


def test_store_that_is_down_at_the_start_is_tried_again(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    objects.script([StoreFault("unavailable", times=1)])
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    rows = make_rows(2, first=301)
    assert notes(ask(rows, histories)) == [{"used": False, "reason": LOADING}] * 2
    histories.tick()
    (note, _) = notes(ask(rows, histories))
    assert not note["used"]
    assert note["reason"] == f"{LOADING}: the store does not answer"
    status = histories.status()
    assert status is not None
    assert not status.is_complete
    assert status.problem
    clock.now += keeper.RETRY_SECONDS
    histories.tick()
    assert all(n["used"] for n in notes(ask(rows, histories)))
    status = histories.status()
    assert status is not None
    assert status.is_complete
    assert not status.problem


def test_store_that_is_down_later_leaves_the_histories_as_they_are(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    rows = make_rows(5, first=301)
    before = ask(rows, histories)
    objects.script([StoreFault("unavailable", times=1000)])
    look_again(histories, clock)
    after = ask(rows, histories)
    assert (after.predictions, after.results) == (before.predictions, before.results)
    status = histories.status()
    assert status is not None
    assert status.is_complete
    assert status.problem


def test_store_that_fails_between_two_partitions_loses_none(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    objects.script([StoreFault("unavailable", "read* */p00001/*", times=1)])
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    used = {n.get("partition") for n in notes(ask(make_rows(30, first=301), histories))}
    assert used == {0, None}
    clock.now += keeper.RETRY_SECONDS
    histories.tick()
    used = {n.get("partition") for n in notes(ask(make_rows(30, first=301), histories))}
    assert used == {0, 1, 2}


def test_history_of_another_spec_is_never_used(stream: ScoredStream) -> None:
    """Both specs have the same number of features, so nothing else would notice."""
    assert len(OTHER.names) == len(SPEC.names)
    store, _ = stored(stream)
    stream.store_snapshots(store)
    model = StaticModel(stream.bundle)
    clock = Clock()
    histories = StoredHistories(model, store, ROOM, clock=clock)
    histories.tick()
    other = history_bundle("v2", OTHER)
    rows = make_rows(5, first=301)
    assert notes(ask(rows, histories, other)) == [{"used": False, "reason": LOADING}] * 5
    model.current = other
    status = histories.status()
    assert status is not None
    assert (status.loaded, status.era, status.is_complete) == (0, None, False)
    histories.tick()
    for bundle in (other, stream.bundle):
        assert not any(n["used"] for n in notes(ask(rows, histories, bundle)))
    second = ScoredStream(make_era(OTHER), other)
    second.produce(make_rows(300))
    second.score()
    assert store.create_era(second.era)
    second.store_snapshots(store)
    look_again(histories, clock)
    assert ask(rows, histories, other).predictions == next_scores(second, rows)
    assert not any(n["used"] for n in notes(ask(rows, histories, stream.bundle)))
    model.current = tiny_bundle()
    histories.tick()
    assert not any(n["used"] for n in notes(ask(rows, histories, other)))


def test_new_version_with_the_same_history_goes_on_with_it(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    model = StaticModel(stream.bundle)
    histories = StoredHistories(model, store, ROOM)
    histories.tick()
    objects.script([StoreFault("unavailable", times=1000)])
    model.current = history_bundle("v2")
    histories.tick()
    assert all(n["used"] for n in notes(ask(make_rows(5, first=301), histories, model.current)))


def test_new_era_replaces_partition_by_partition(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    rows = make_rows(30, first=301)
    before = ask(rows, histories)
    offsets = tuple(len(records) for records in stream.inputs)
    stream.begin_era(next_era(stream.era, begin=offsets, created=NOW + timedelta(hours=1)))
    stream.produce(make_rows(40, first=400))
    stream.score()
    assert store.create_era(stream.era)
    stream.store_snapshots(store, NOW + timedelta(hours=2))
    objects.script([StoreFault("unavailable", "read* history/*/000002/*", times=1)])
    look_again(histories, clock)  # the era is known, none of its snapshots can be read
    assert ask(rows, histories).results == before.results
    clock.now += keeper.RETRY_SECONDS
    histories.tick()
    after = ask(rows, histories)
    assert {n["as_of"] for n in notes(after)} == {"2026-01-31T14:00:00Z"}
    fresh = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    fresh.tick()
    assert after.results == ask(rows, fresh).results
    status = histories.status()
    assert status is not None
    assert (status.era, status.loaded) == (2, PARTITIONS)


def test_era_with_other_partitions_begins_without_the_old_ones(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    clock = Clock()
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM, clock=clock)
    histories.tick()
    wider = ScoredStream(next_era(stream.era, begin=(0,) * 5), stream.bundle)
    wider.produce(make_rows(300))
    wider.score()
    assert store.create_era(wider.era)
    wider.store_snapshots(store)
    objects.script([StoreFault("unavailable", "read* history/*/000002/*", times=1)])
    look_again(histories, clock)
    rows = make_rows(30, first=301)
    assert not any(note["used"] for note in notes(ask(rows, histories)))
    clock.now += keeper.RETRY_SECONDS
    histories.tick()
    answer = ask(rows, histories)
    assert answer.predictions == next_scores(wider, rows)
    assert [n["partition"] for n in notes(answer)] == [wider.partition_of(row) for row in rows]


def test_era_without_a_snapshot_begins_with_its_seed(stream: ScoredStream) -> None:
    """Each partition gets the records of its own cards."""
    seed = history_of(make_rows(200)).records()
    store, _ = stored(ScoredStream(make_era(OTHER), history_bundle("v2", OTHER)))
    sha256 = store.write_seed(encode_seed(SeedHeader(SPEC.fingerprint, seed.clock), seed))
    era = make_era(seed=EraSeed(sha256, seed.clock), begin=(5, 6, 7))
    assert store.create_era(era)
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    histories.tick()
    rows = make_rows(12, first=301)
    answer = ask(rows, histories)
    one = ScoredStream(make_era(begin=(0,)), stream.bundle)  # all cards in one partition
    one.histories = [PartitionHistory.restore(SPEC, seed)]
    assert answer.predictions == next_scores(one, rows)
    view = histories._view
    assert view is not None
    keys = [loaded._history.sizes().keys["client"] for loaded in view.loaded()]
    assert sum(keys) == len(seed.spaces["client"])
    for row, note in zip(rows, notes(answer), strict=True):
        assert note == {
            "used": True,
            "as_of": "2026-01-30T12:00:00Z",
            "partition": stream.partition_of(row),
            "offset": era.begin[stream.partition_of(row)],
        }


def test_histories_that_do_not_fit_are_left_out(
    stream: ScoredStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = stored(stream)
    stream.store_snapshots(store)
    whole = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    whole.tick()
    status = whole.status()
    assert status is not None
    clock = Clock()
    room = status.nbytes * 2 // 3 + 1000
    histories = StoredHistories(StaticModel(stream.bundle), store, room, clock=clock)
    facts = store.read_facts(stream.era, store.snapshots(stream.era, 2)[0])
    assert facts is not None
    large = facts._replace(body=_with_keys(facts.body, 10**6))
    read = store.read_facts
    monkeypatch.setattr(store, "read_facts", lambda e, n: large if n.partition == 2 else read(e, n))
    for _ in range(2):
        rows = make_rows(30, first=301)
        look_again(histories, clock)
        reasons = {n["reason"] for n in notes(ask(rows, histories)) if not n["used"]}
        (reason,) = reasons
        assert "partition 2 needs" in reason
        assert "PREDICT_HISTORY_MAX_BYTES leaves" in reason
        status = histories.status()
        assert status is not None
        assert (status.loaded, status.partitions) == (2, 3)
        assert status.nbytes <= room


def _with_keys(body: Body, keys: int) -> Body:
    return replace(body, spaces=tuple(replace(space, keys=keys) for space in body.spaces))


def test_store_without_an_era_says_so(stream: ScoredStream) -> None:
    store, _ = stored(ScoredStream(make_era(OTHER), history_bundle("v2", OTHER)))
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    histories.tick()
    (note,) = notes(ask(make_rows(1), histories))
    assert not note["used"]
    assert "no history for this model yet" in note["reason"]


def test_thread_loads_and_ends_even_while_the_store_hangs(stream: ScoredStream) -> None:
    store, objects = stored(stream)
    stream.store_snapshots(store)
    histories = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    histories.start()
    wait_until(lambda: (s := histories.status()) is not None and s.is_complete, what="loading")
    histories.stop()
    assert not histories._thread.is_alive()

    released = threading.Event()
    objects.script([StoreFault("slow", times=1, wait=lambda: released.wait(60))])
    hanging = StoredHistories(StaticModel(stream.bundle), store, ROOM)
    hanging.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper, "STOP_SECONDS", 0.05)
        hanging.stop()  # returns although the store does not
    assert hanging._thread.is_alive()
    released.set()
    hanging._thread.join(60)
    assert not hanging._thread.is_alive()
