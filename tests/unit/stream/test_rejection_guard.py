"""The guard that stops the scorer when too many records are rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rejections import Rejection, Stage
from stream_scorer.errors import FatalError
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy, RejectionTally
from stream_scorer.stream.rejections.ledger import format_tally, parse_tally


def bad(indices: Iterable[int]) -> list[Rejection]:
    return [Rejection(i, Stage.DECODE, f"record {i}") for i in indices]


def take(guard: RejectionGuard, size: int, indices: Iterable[int]) -> None:
    guard.check(size, bad(indices))
    guard.accept()


def test_run_within_one_batch_stops_the_guard() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    take(guard, 10, [2, 3, 4])
    with pytest.raises(
        FatalError, match="4 records in a row were rejected, more than the limit of 3"
    ):
        guard.check(10, bad([2, 3, 4, 5]))


def test_run_continues_from_batch_to_batch() -> None:
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


def test_share_is_checked_only_from_the_minimum_number_of_records_on() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=100, max_share=0.5, window=10, minimum=10))
    take(guard, 4, [0, 1, 2, 3])
    take(guard, 4, [0, 1])
    with pytest.raises(
        FatalError, match="8 of the last 12 records were rejected, more than the limit of 50%"
    ):
        guard.check(4, bad([0, 2]))
    take(guard, 4, [])
    take(guard, 4, [0, 2])


def test_old_batches_lose_weight() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=100, max_share=0.5, window=20, minimum=10))
    for _ in range(20):
        take(guard, 10, [])
    for _ in range(2):  # all bad, and as many good records still count as recent
        take(guard, 10, range(10))
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


def test_share_of_one_never_stops_the_guard() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=10**9, max_share=1.0, window=10))
    for _ in range(10):
        take(guard, 10, range(10))


def test_message_names_the_setting_counts_commonest_reasons_and_the_command_to_type() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    guard.check(3, [Rejection(0, Stage.DECODE, "not JSON at 17"), *bad([1, 2])])
    guard.accept()
    with pytest.raises(FatalError) as caught:
        guard.check(3, [Rejection(i, Stage.SCHEMA, "id 9\x1b[2J") for i in range(3)])
    for part in (
        "6 records in a row were rejected, more than the limit of 3 (REJECTION_MAX_RUN)",
        (
            "Commonest reasons: schema: id 9\\x1b[2J (3 times); decode: record 1 (2 times); "
            "decode: not JSON at 17 (1 times)."
        ),
        "This batch was not committed",
        "stream-scorer dlq list",
        "run: stream-scorer dlq allow 3 (",
        "REJECTION_MAX_SHARE",
    ):
        assert part in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), max_size=12), st.integers(1, 5))
def test_run_is_found_however_it_is_split_into_batches(
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


class MemoryLedger:
    """An in-memory fake of the ledger: tallies that outlive a guard."""

    def __init__(self) -> None:
        self.tallies: dict[int, RejectionTally] = {}
        self.writes = 0

    def read(self, partitions: Iterable[int]) -> Mapping[int, RejectionTally]:
        return {p: self.tallies[p] for p in partitions if p in self.tallies}

    def write(self, partitions: Iterable[int], tally: RejectionTally) -> None:
        self.writes += 1
        self.tallies |= dict.fromkeys(partitions, tally)


def restarted(
    ledger: MemoryLedger, policy: RejectionPolicy, assigned: Iterable[int] = (0, 1)
) -> RejectionGuard:
    owned = frozenset(assigned)
    return RejectionGuard(policy, ledger, lambda: owned)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["commit", "kill"])), max_size=60),
)
def test_process_killed_repeatedly_dead_letters_no_more_than_one_that_keeps_running(
    lives: list[tuple[int, str]],
) -> None:
    policy, ledger = RejectionPolicy(max_run=20, max_share=1.0), MemoryLedger()
    committed = 0
    for size, end in lives:  # each process gets one batch, all bad, and dies before or after it
        guard = restarted(ledger, policy)
        try:
            guard.check(size, bad(range(size)))
        except FatalError:
            continue
        if end == "commit":
            guard.accept()
            committed += size
    assert committed <= 20


def test_share_continues_after_a_restart() -> None:
    policy = RejectionPolicy(max_run=100, max_share=0.5, window=40, minimum=20)
    ledger, committed = MemoryLedger(), 0
    for _ in range(50):
        guard = restarted(ledger, policy)
        try:
            take(guard, 5, [0, 2, 4])
        except FatalError:
            continue
        committed += 5
    assert committed == 15


def test_stop_holds_after_a_restart_until_a_good_record_ends_the_run() -> None:
    policy, ledger = RejectionPolicy(max_run=3), MemoryLedger()
    take(restarted(ledger, policy), 3, range(3))
    for _ in range(3):
        with pytest.raises(FatalError):
            restarted(ledger, policy).check(1, bad([0]))
    guard = restarted(ledger, policy)
    take(guard, 1, [])
    take(guard, 3, range(3))


def test_member_that_takes_over_partitions_takes_over_their_counts() -> None:
    policy, ledger = RejectionPolicy(max_run=3), MemoryLedger()
    take(restarted(ledger, policy, [1]), 3, range(3))
    owned = {0}
    survivor = RejectionGuard(policy, ledger, lambda: frozenset(owned))
    for _ in range(100):
        take(survivor, 10, [3])
    owned.add(1)
    with pytest.raises(FatalError):
        survivor.check(1, bad([0]))


def test_stored_counts_do_not_matter_after_enough_good_records() -> None:
    policy, ledger = RejectionPolicy(max_run=3, minimum=10), MemoryLedger()
    take(restarted(ledger, policy), 3, range(3))
    guard = restarted(ledger, policy)
    for _ in range(3):
        take(guard, 10, [])
    take(guard, 3, range(3))


def test_few_rejections_cost_no_call_and_a_run_that_has_ended_is_cleared() -> None:
    policy, ledger = RejectionPolicy(max_run=50), MemoryLedger()
    guard = restarted(ledger, policy)
    for _ in range(100):
        take(guard, 100, [3, 50])
    assert ledger.writes == 0
    take(guard, 40, range(40))
    assert ledger.tallies[0].run == 40
    for _ in range(100):
        take(guard, 100, [3, 50])
    assert ledger.tallies[0].run == 0
    assert ledger.writes == 2


def test_allowance_is_used_up_once_however_often_the_process_restarts() -> None:
    policy, ledger = RejectionPolicy(max_run=2), MemoryLedger()
    ledger.write([0, 1], RejectionTally(allowance=10))
    committed = 0
    for _ in range(20):
        try:
            take(restarted(ledger, policy), 3, range(3))
        except FatalError:
            continue
        committed += 3
    assert committed == 12  # ten uncounted, two in a row


@pytest.mark.parametrize("tally", [RejectionTally(), RejectionTally(1, 5_000, 20, 3)])
def test_tally_survives_a_round_trip_through_metadata(tally: RejectionTally) -> None:
    assert parse_tally(format_tally(tally)) == tally


@pytest.mark.parametrize(
    "text", [None, "", "redriven:AA", "rejections:1,2,3", "rejections:1,2,x,-4"]
)
def test_metadata_without_a_tally_is_none(text: str | None) -> None:
    assert parse_tally(text) is None


def tombstones(indices: Iterable[int]) -> list[Rejection]:
    return [Rejection(i, Stage.FRAMING, "null", is_tombstone=True) for i in indices]


def test_tombstones_count_towards_no_limit() -> None:
    policy = RejectionPolicy(max_run=3, max_share=0.5, window=10, minimum=10)
    ledger = MemoryLedger()
    guard = restarted(ledger, policy)
    for _ in range(50):
        guard.check(20, tombstones(range(20)))
        guard.accept()
    assert ledger.writes == 0
    ledger.write([0, 1], RejectionTally(allowance=4))
    guard = restarted(ledger, policy)
    guard.check(20, tombstones(range(20)))
    guard.accept()
    take(guard, 6, range(6))  # the allowance is still there


@pytest.mark.parametrize("every", [1, 2, 3])
def test_tombstones_between_bad_records_neither_end_a_run_nor_count(every: int) -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=4))
    rows = [i for i in range(20) if i % (every + 1) != every]
    deletions = tombstones(i for i in range(20) if i % (every + 1) == every)
    size = rows[3] + 1
    guard.check(size, [r for r in [*bad(rows[:4]), *deletions] if r.index < size])
    guard.accept()
    with pytest.raises(FatalError, match="5 records in a row"):
        guard.check(2, [*tombstones([0]), *bad([1])])


def reasons_named(guard: RejectionGuard, size: int, rejections: list[Rejection]) -> str:
    with pytest.raises(FatalError) as caught:
        guard.check(size, rejections)
    return str(caught.value).partition("Commonest reasons: ")[2].partition(". This batch")[0]


def test_message_names_only_the_reasons_of_this_run() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=5, max_share=0.9))
    for _ in range(10):  # suspicious, each ended by a good record: not of the run that follows
        guard.check(5, [Rejection(i, Stage.SCHEMA, "earlier") for i in range(4)])
        guard.accept()
    guard.check(5, [Rejection(0, Stage.SCHEMA, "earlier"), *bad([3, 4])])
    guard.accept()
    named = reasons_named(guard, 9, [*bad([0, 1, 2, 3]), Rejection(8, Stage.DECODE, "after")])
    assert named == "decode: record 3 (6 times)"


def test_message_names_the_reasons_of_the_longest_run_of_the_batch() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=3))
    take(guard, 2, [1])
    long = [Rejection(i, Stage.SCHEMA, "long") for i in range(4, 8)]
    assert reasons_named(guard, 9, [*bad([0, 1]), *long]) == "schema: long (4 times)"


def test_message_about_the_share_names_the_commonest_reasons_of_recent_records() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=100, window=10, minimum=10))
    for _ in range(20):
        guard.check(5, [Rejection(0, Stage.SCHEMA, "rare")])
        guard.accept()
    named = reasons_named(guard, 40, bad(range(0, 40, 1)))
    assert named.startswith("decode: record 0 (40 times); schema: rare (")


def test_reasons_beyond_the_limit_are_counted_together() -> None:
    guard = RejectionGuard(RejectionPolicy(max_run=300))
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"]
    rejections = [Rejection(i, Stage.DECODE, word) for i, word in enumerate(words)]
    assert reasons_named(guard, len(words), rejections).endswith("other reasons (509 times)")


def test_the_command_that_the_message_names_lets_the_batch_pass() -> None:
    policy, ledger = RejectionPolicy(max_run=3), MemoryLedger()
    batch = bad(range(50))
    with pytest.raises(FatalError) as caught:
        restarted(ledger, policy).check(50, batch)
    number = int(str(caught.value).partition("dlq allow ")[2].split()[0])
    ledger.write([0, 1], RejectionTally(allowance=number))
    restarted(ledger, policy).check(50, batch)
