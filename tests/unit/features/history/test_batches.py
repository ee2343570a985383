"""State and features do not depend on batches, partitions, or steps that were taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import build_batch
from stream_scorer.features.history import table
from stream_scorer.features.history.kernel import advance
from stream_scorer.features.history.partition import PartitionHistory
from tests.support.features.history_replay import Replay
from tests.support.features.history_streams import (
    DAY,
    SPECS,
    Numbers,
    differing,
    every_kind,
    every_row,
    make_rows,
    make_stream,
    one_pass,
    partition_of,
    passes_in,
    same_records,
    some_rows,
)


@pytest.mark.parametrize("sizes", [(1,), (7,), (64,), (65, 63, 1), (200, 1, 13, 40)])
@pytest.mark.parametrize("name", list(SPECS))
def test_any_split_into_batches_gives_the_same_bits(name: str, sizes: tuple[int, ...]) -> None:
    spec, batch, advances = SPECS[name](), make_stream(1_000, 4, seconds=2_000), some_rows(1_000)
    whole, expected = one_pass(spec, batch, advances)
    out = np.full_like(whole, 7.0)
    history = PartitionHistory(spec)
    for rows in passes_in(sizes, len(batch)):
        history.settle(history.step(batch, rows, advances, out))
    assert differing(spec, out, whole) == {}
    assert history.check_sum() == expected.check_sum()
    assert same_records(history.records(), expected.records())
    assert history.figures() == expected.figures()
    assert history.future == expected.future


@pytest.mark.parametrize("partitions", [3, 12])
def test_any_number_of_partitions_gives_the_same_features(partitions: int) -> None:
    spec, batch, advances = every_kind(), make_stream(3_000, 6, seconds=1_500), some_rows(3_000)
    whole, table = one_pass(spec, batch, advances)
    assert table.figures().expired > 0
    of_row, out = partition_of(batch, partitions), np.full_like(whole, 7.0)
    histories = [PartitionHistory(spec) for _ in range(partitions)]
    for rows in passes_in((200, 3, 77), len(batch)):
        for partition, history in enumerate(histories):
            mine = rows[of_row[rows] == partition]
            history.settle(history.step(batch, mine, advances, out))
    assert differing(spec, out, whole) == {}
    assert len({history.clock for history in histories}) > 1


def test_any_number_of_partitions_gives_the_same_records_before_any_expire() -> None:
    spec, batch = every_kind(), make_stream(2_000, 7, seconds=60)
    whole, table = one_pass(spec, batch)
    of_row, out = partition_of(batch, 12), np.full_like(whole, 7.0)
    dealt = []
    for partition in range(12):
        history = PartitionHistory(spec)
        mine = np.flatnonzero(of_row == partition)
        history.settle(history.step(batch, mine, every_row(len(batch)), out))
        dealt.append(history.records())
    for name, words in table.records().spaces.items():
        together = np.vstack([records.spaces[name] for records in dealt])
        assert np.array_equal(np.sort(together, axis=0), np.sort(words, axis=0))
        assert len(np.unique(together[:, :2], axis=0)) == len(words)


ACTIONS = st.sampled_from(("step", "step", "step", "rollback", "rollback", "settle", "copy"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(ACTIONS, st.integers(0, 90)), max_size=60),
    st.sampled_from((2**30, 2**30, 20, 3)),
    st.sampled_from((60, 3_000, 40_000)),
)
def test_steps_taken_back_leave_no_trace(
    actions: list[tuple[str, int]], max_keys: int, seconds: int
) -> None:
    spec, batch = every_kind(), make_stream(600, 8, seconds=seconds)
    advances = some_rows(600)
    whole, expected = one_pass(spec, batch, advances, max_keys)
    out = np.full_like(whole, 7.0)
    replay = Replay(spec, batch, np.arange(len(batch)), advances, out, max_keys)
    for action, size in actions:
        if action == "step":
            replay.step(size)
        elif action == "rollback":
            replay.rollback()
        elif action == "settle":
            replay.settle()
        else:
            replay.check_copy()
    history = replay.finish()
    assert differing(spec, out, whole) == {}
    assert history.check_sum() == expected.check_sum()
    assert same_records(history.records(), expected.records())


@pytest.mark.parametrize("max_keys", [2**30, 1_300])
def test_partitions_with_rollbacks_growth_and_new_days(max_keys: int) -> None:
    """More keys than fit at first, so that tables and undo grow while steps are open."""
    spec, n = every_kind(), 10_000
    batch, advances = build_batch(make_rows(n, 9, cards=40_000, seconds=200)), some_rows(n)
    whole, _ = one_pass(spec, batch, advances)
    of_row = partition_of(batch, 3)
    out, draw = np.full_like(whole, 7.0), Numbers(3)
    for partition in range(3):
        rows = np.flatnonzero(of_row == partition)
        alone = np.full_like(whole, 7.0)
        expected = PartitionHistory(spec, max_keys)
        expected.settle(expected.step(batch, rows, advances, alone))
        replay = Replay(spec, batch, rows, advances, out, max_keys)
        replay.run(draw, 700)
        history = replay.finish()
        assert replay.taken_back > 0
        assert history.check_sum() == expected.check_sum()
        assert same_records(history.records(), expected.records())
        assert differing(spec, out[rows], alone[rows]) == {}
        assert history.sizes().keys["client"] > (1_024 if max_keys == 2**30 else 900)
        assert (history.figures().evicted > 1_024) == (max_keys < 2**30)
    if max_keys == 2**30:
        assert differing(spec, out, whole) == {}


def test_only_the_youngest_step_is_taken_back_and_the_oldest_is_final() -> None:
    spec, batch = every_kind(), make_stream(90)
    history, out = PartitionHistory(spec), np.empty((90, len(spec.names)))
    undos = [history.step(batch, rows, every_row(90), out) for rows in passes_in((30,), 90)]
    assert history.open_steps == 3
    for undo in undos[:2]:
        with pytest.raises(ValueError, match="only the youngest"):
            history.rollback(undo)
    for undo in undos[1:]:
        with pytest.raises(ValueError, match="only the oldest"):
            history.settle(undo)
    history.rollback(undos[2])
    history.settle(undos[0])
    with pytest.raises(ValueError, match="only the oldest"):
        history.settle(undos[0])
    history.rollback(undos[1])
    with pytest.raises(ValueError, match="only the youngest"):
        history.rollback(undos[1])
    assert history.open_steps == 0
    assert history.check_sum() == one_pass(spec, batch.take(slice(0, 30)))[1].check_sum()


def test_a_step_that_fails_in_the_middle_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, batch = every_kind(), make_stream(200, 3)
    history, out = PartitionHistory(spec), np.empty((200, len(spec.names)))
    history.settle(history.step(batch, np.arange(100), every_row(200), out))
    before = history.check_sum(), history.clock, history.sizes()
    calls = []

    def fail_later(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return advance(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(table, "advance", fail_later)
        with pytest.raises(KeyboardInterrupt):
            history.step(batch, np.arange(100, 200), every_row(200), out)
    assert len(calls) == 2
    assert (history.check_sum(), history.clock, history.sizes()) == before
    assert history.open_steps == 0
    history.settle(history.step(batch, np.arange(100, 200), every_row(200), out))
    assert history.check_sum() == one_pass(spec, batch)[1].check_sum()


def test_arrays_of_another_shape_are_refused_and_nothing_changes() -> None:
    spec, batch = every_kind(), make_stream(20)
    history, n = PartitionHistory(spec), len(spec.names)
    for out in (np.empty((19, n)), np.empty((20, n + 1)), np.empty((n, 20)).T):
        with pytest.raises(ValueError, match=r"the output is \["):
            history.step(batch, np.arange(20), every_row(20), out)
        with pytest.raises(ValueError, match=r"the output is \["):
            history.peek(batch, np.arange(20), out)
    out = np.empty((20, n))
    with pytest.raises(ValueError, match=r"advances is \[19\], not \[20\]"):
        history.step(batch, np.arange(20), every_row(19), out)
    for rows in (np.array([3, 20]), np.array([-1]), np.array([2**40])):
        with pytest.raises(IndexError, match="rows are not in a batch of 20"):
            history.step(batch, rows, every_row(20), out)
        with pytest.raises(IndexError, match="rows are not in a batch of 20"):
            history.peek(batch, rows, out)
    assert history.open_steps == 0
    assert history.check_sum() == PartitionHistory(spec).check_sum()


def test_a_peek_gives_the_features_of_a_next_row_and_changes_nothing() -> None:
    spec, batch = every_kind(), make_stream(400, 2)
    history, n = PartitionHistory(spec), len(spec.names)
    out, seen = np.empty((400, n)), np.full((400, n), 7.0)
    history.settle(history.step(batch, np.arange(300), every_row(400), out))
    check_sum = history.check_sum()
    history.peek(batch, np.arange(300, 400), seen)
    assert history.check_sum() == check_sum
    assert history.open_steps == 0
    for row in range(300, 400):
        undo = history.step(batch, np.array([row]), every_row(400), out)
        history.rollback(undo)
    assert differing(spec, out[300:], seen[300:]) == {}
    assert (seen[:300] == 7.0).all()


def test_an_empty_step_is_a_step() -> None:
    spec, batch = every_kind(), make_stream(20)
    history, out = PartitionHistory(spec), np.empty((20, len(spec.names)))
    none = np.empty(0, np.int64)
    history.settle(history.step(batch, none, every_row(20), out))
    undo = history.step(batch, none, every_row(20), out)
    history.rollback(undo)
    assert history.clock == -1
    assert history.check_sum() == PartitionHistory(spec).check_sum()


def test_clock_follows_by_an_hour_at_most() -> None:
    spec = every_kind()
    base = make_rows(1)[0]
    rows = [{**base, "TransactionDT": time} for time in (5 * DAY, 90 * DAY, 4 * DAY, 6 * DAY)]
    _, history = one_pass(spec, build_batch(rows))
    assert history.clock == 5 * DAY + 2 * 3600
