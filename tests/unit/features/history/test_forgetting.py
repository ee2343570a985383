"""What is forgotten, and when: time to live, new days, the limit of keys, room that is reused."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from tests.support.features.history_replay import Replay
from tests.support.features.history_streams import (
    DAY,
    HOUR,
    Numbers,
    Row,
    differing,
    every_kind,
    every_row,
    features,
    make_rows,
    make_spec,
    one_pass,
    partition_of,
    passes_in,
    plain_space,
    same_records,
)
from tests.support.features.plain_history import PlainHistory, plain_features

COUNT = make_spec(
    plain_space("card", ("card1",), features("count"), features("gap"), ttl_days=10, ring=0)
)


def row(time: int, card: float = 7.0) -> Row:
    return {"TransactionID": time, "TransactionDT": time, "TransactionAmt": 1.0, "card1": card}


def counts(rows: list[Row], spec: HistorySpec = COUNT) -> list[float]:
    found: list[float] = one_pass(spec, build_batch(rows))[0][:, 0].tolist()
    return found


def test_a_record_counts_as_absent_after_its_time_to_live() -> None:
    last = 20 * DAY + 5
    kept, late = 30 * DAY + DAY - 1, 31 * DAY
    assert counts([row(last), row(kept)]) == [0, 1]  # whole days
    assert counts([row(last), row(late), row(late + 1)]) == [0, 0, 1]
    assert counts([row(last), row(last + 1), row(late), row(20 * DAY)]) == [0, 1, 0, 1]


def test_a_record_begun_again_is_like_a_new_one() -> None:
    spec = every_kind()
    base = next(r for r in make_rows(20, 3) if r["D1"] is not None)
    before = [{**base, "TransactionID": i, "TransactionDT": 20 * DAY + i} for i in range(30)]
    after = [
        {**r, "TransactionDT": r["TransactionDT"] + 31 * DAY, "D1": r["D1"] + 31} for r in before
    ]
    _, both = one_pass(spec, build_batch([*before, *after]))
    _, fresh = one_pass(spec, build_batch(after))
    for name, words in fresh.records().spaces.items():
        assert len(words) == 1
        assert np.array_equal(both.records().spaces[name], words)


def test_long_unused_records_are_removed_when_the_clock_enters_a_day() -> None:
    old = [row(20 * DAY, card) for card in (1.0, 2.0)]
    others = [row(20 * DAY + i * HOUR, 3.0) for i in range(24 * 19)]
    history, out = PartitionHistory(COUNT), np.empty((len(old) + len(others), 2))
    batch = build_batch([*old, *others])
    keys = []
    for at in range(len(batch)):
        history.settle(history.step(batch, np.array([at]), every_row(len(batch)), out))
        keys.append((history.clock, history.sizes().keys["card"]))
    removed = min(clock for clock, n in keys if clock > 21 * DAY and n == 1)
    assert removed == (20 + 10 + 7 + 1) * DAY
    assert history.figures().expired == 2
    assert history.records().spaces["card"][:, 0].tolist() == [3]


def test_clocks_that_jump_do_not_show_in_features() -> None:
    """In a stream less than seven days late, what is removed would have counted as absent."""
    spec = every_kind()
    rows = make_rows(1_600, 11, cards=300, seconds=300, late=6 * DAY)
    rows[600:] = [{**r, "TransactionDT": r["TransactionDT"] + 30 * DAY} for r in rows[600:]]
    batch = build_batch(rows)
    whole, one = one_pass(spec, batch)
    assert one.figures().expired > 50
    out, of_row, clocks = np.full_like(whole, 7.0), partition_of(batch, 12), set()
    for partition in range(12):
        history = PartitionHistory(spec)
        mine = np.flatnonzero(of_row == partition)
        history.settle(history.step(batch, mine, every_row(len(batch)), out))
        clocks.add(history.clock // DAY)
    assert len(clocks) > 2
    assert differing(spec, out, whole) == {}
    never = PlainHistory(spec)
    never.forgets = False
    expected = np.array([never.advance(row) for row in rows])
    exact = [i for i, name in enumerate(spec.names) if "decayed" not in name]
    assert np.array_equal(whole[:, exact], expected[:, exact], equal_nan=True)


@pytest.mark.parametrize(("late_days", "count"), [(6, 1), (9, 0)])
def test_only_rows_later_than_seven_days_can_find_that_a_record_was_removed(
    late_days: int, count: int
) -> None:
    """The control of the test before: without the spare days, or later, the clock would show."""
    others = [row(20 * DAY + i * HOUR, 3.0) for i in range(24 * 40)]
    last = others[-1]["TransactionDT"]
    recent = last - last % DAY - (10 + late_days) * DAY  # absent for rows of today
    late = row(last - late_days * DAY)
    at = next(i for i, r in enumerate(others) if r["TransactionDT"] > recent)
    assert counts([row(recent), late]) == [0, 1]
    assert counts([*others[:at], row(recent), *others[at:], late])[-1] == count


def test_limit_removes_what_was_unused_for_longest() -> None:
    rows = [row(20 * DAY + 1800 * i, float(i % 3 if i % 2 else i)) for i in range(600)]
    actual, history = one_pass(COUNT, build_batch(rows), max_keys=20)
    assert history.figures().evicted > 200
    assert history.sizes().keys["card"] <= 20
    expected = plain_features(COUNT, rows, max_keys=20)
    assert np.array_equal(actual, np.array(expected), equal_nan=True)
    unlimited = one_pass(COUNT, build_batch(rows))[0]
    frequent = np.arange(1, 600, 2)
    assert np.array_equal(actual[frequent], unlimited[frequent], equal_nan=True)


def test_limit_of_one_key_and_times_ahead_of_the_clock() -> None:
    rows = [row(DAY), row(2**32 - 1, 8.0), row(DAY + 1), row(DAY + 2, 9.0), row(DAY + 3, 9.0)]
    actual, history = one_pass(COUNT, build_batch(rows), max_keys=1)
    assert actual[:, 0].tolist() == [0, 0, 0, 0, 1]
    assert history.sizes().keys["card"] == 1


@pytest.mark.parametrize("sizes", [(1,), (50, 3), (700,)])
def test_limit_removes_the_same_in_any_batches(sizes: tuple[int, ...]) -> None:
    spec = every_kind()
    rows = make_rows(1_500, 12, cards=900, seconds=900)
    batch, out = build_batch(rows), np.empty((1_500, len(spec.names)))
    whole, expected = one_pass(spec, batch, max_keys=60)
    history = PartitionHistory(spec, 60)
    for run in passes_in(sizes, len(batch)):
        history.settle(history.step(batch, run, every_row(len(batch)), out))
    assert expected.figures().evicted > 100
    assert history.figures() == expected.figures()
    assert differing(spec, out, whole) == {}
    assert same_records(history.records(), expected.records())


@pytest.mark.parametrize("max_keys", [0, -1, 2**30 + 1])
def test_limit_must_be_possible(max_keys: int) -> None:
    with pytest.raises(ValueError, match="a key space has 1 to 1073741824 keys, not"):
        PartitionHistory(COUNT, max_keys)


@pytest.mark.parametrize("most_open", [1, 2, 3])
def test_places_of_removed_records_are_used_again(most_open: int) -> None:
    """Also where a step is always open, as in a scorer that scores ahead."""
    spec = make_spec(
        plain_space("card", ("card1",), features("count"), features("mean", "C1"), ttl_days=1)
    )
    rows = [
        row((20 + day) * DAY + 100 * i, float(day * 600 + i if i % 6 else i))
        for day in range(25)
        for i in range(700)
    ]
    batch = build_batch(rows)
    whole, expected = one_pass(spec, batch)
    out, advances = np.full_like(whole, 7.0), every_row(len(batch))
    replay = Replay(spec, batch, np.arange(len(batch)), advances, out, most_open=most_open)
    draw, memory = Numbers(7), [0] * 25
    while replay.at < len(batch):
        replay.step(1 + draw.below(400))
        day = replay.history.clock // DAY - 20
        memory[day] = max(memory[day], replay.history.sizes().nbytes)
        for _ in range(draw.below(1 + most_open) if draw.below(2) else 0):
            replay.rollback()
        replay.check_copy()
    history = replay.finish()
    assert replay.taken_back > 10
    assert history.figures().expired > 5_000
    assert differing(spec, out, whole) == {}
    assert history.check_sum() == expected.check_sum()
    assert same_records(history.records(), expected.records())
    assert max(memory[13:]) <= 1.3 * max(memory[:13])
    assert max(memory) < len(batch) * 8 * spec.spaces[0].width / 2  # not a place for every card


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_records_that_begin_and_end_within_an_open_step(seed: int) -> None:
    """At the limit, a step of many new keys removes keys of its own; older steps are compacted."""
    spec = make_spec(plain_space("card", ("card1",), features("count"), features("mean", "C1")))
    rows = [row(20 * DAY + i, float(i % 7 if i % 5 == 0 else i)) for i in range(14_000)]
    batch, limit = build_batch(rows), 1_100
    whole, expected = one_pass(spec, batch, max_keys=limit)
    out, advances = np.full_like(whole, 7.0), every_row(len(batch))
    replay = Replay(spec, batch, np.arange(len(batch)), advances, out, limit)
    replay.run(Numbers(seed), 3_000)
    history = replay.finish()
    assert replay.taken_back > 0
    assert history.figures().evicted > 8 * limit
    assert differing(spec, out, whole) == {}
    assert history.check_sum() == expected.check_sum()
    assert same_records(history.records(), expected.records())
