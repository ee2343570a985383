"""The guard that stops the scorer when so much is bad that something upstream must be."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rejections import Rejection, Stage
from stream_scorer.errors import FatalError
from stream_scorer.limits import RejectionGuard, RejectionPolicy


def bad(indices: Iterable[int]) -> list[Rejection]:
    return [Rejection(i, Stage.DECODE, f"record {i}") for i in indices]


def take(guard: RejectionGuard, size: int, indices: Iterable[int]) -> None:
    guard.check(size, bad(indices))
    guard.accept()


def test_run_within_one_batch() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    take(guard, 10, [2, 3, 4])
    with pytest.raises(FatalError, match="more than 3 records in a row"):
        guard.check(10, bad([2, 3, 4, 5]))


def test_run_goes_on_from_batch_to_batch() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    take(guard, 4, [2, 3])
    take(guard, 1, [0])
    with pytest.raises(FatalError):
        guard.check(4, bad([0]))


@pytest.mark.parametrize("between", [(1, []), (2, [1]), (5, [2, 4])])
def test_good_record_ends_a_run(between: tuple[int, list[int]]) -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    take(guard, 4, [1, 2, 3])
    take(guard, *between)
    take(guard, 4, [0, 1])


def test_order_of_the_rejections_does_not_matter() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=2))
    with pytest.raises(FatalError):
        guard.check(5, bad([4, 2, 3]))


def test_share_counts_only_once_the_window_is_full() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=100, max_share=0.5, window=10))
    take(guard, 4, [0, 1, 2, 3])
    take(guard, 4, [0, 1])
    with pytest.raises(FatalError, match="8 of the last 12 records were rejected, more than 50%"):
        guard.check(4, bad([0, 2]))
    take(guard, 4, [])
    take(guard, 4, [0, 2])


def test_old_batches_fade() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=100, max_share=0.5, window=20))
    for _ in range(20):
        take(guard, 10, [])
    take(guard, 10, range(10))  # all bad, beside as many good ones that are still remembered
    with pytest.raises(FatalError):
        guard.check(10, bad(range(10)))


def test_batch_that_was_not_committed_does_not_count() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    for _ in range(10):
        guard.check(2, bad([0, 1]))  # aborted each time
    guard.accept()
    guard.check(2, bad([0]))
    with pytest.raises(FatalError):
        guard.check(2, bad([0, 1]))


def test_share_of_one_never_stops() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=10**9, max_share=1.0, window=10))
    for _ in range(10):
        take(guard, 10, range(10))


def test_message_names_a_reason_and_the_way_out() -> None:
    with pytest.raises(FatalError) as caught:
        RejectionGuard(RejectionPolicy(max_run=1)).check(2, bad([0, 1]))
    for part in ("record 1", "nothing of the last batch was committed", "REJECTION_MAX_RUN"):
        assert part in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), max_size=12), st.integers(1, 5))
def test_run_is_found_however_it_is_cut_into_batches(
    batches: list[list[bool]], max_run: int
) -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=max_run, max_share=1.0))
    stopped = False
    try:
        for batch in batches:
            take(guard, len(batch), [i for i, is_bad in enumerate(batch) if is_bad])
    except FatalError:
        stopped = True
    flat = "".join("x" if is_bad else "." for batch in batches for is_bad in batch)
    assert stopped == ("x" * (max_run + 1) in flat)
