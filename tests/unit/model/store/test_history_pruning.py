"""Which snapshots are kept: the newest, and the first of each day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.model.store.history_pruning import Dated, find_expired, is_expired

TODAY = date(2026, 3, 1)
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def made(offset: int, hours_ago: float | None) -> Dated:
    """Created that long before the last midnight; None is damaged."""
    return Dated(offset, None if hours_ago is None else MIDNIGHT - timedelta(hours=hours_ago))


def kept(snapshots: Sequence[Dated], offset: int = 10**9, keep_days: int = 35) -> list[int]:
    expired = find_expired(snapshots, offset, TODAY, keep_days)
    return sorted({s.next_offset for s in snapshots} - {s.next_offset for s in expired})


def test_three_snapshots_are_kept_however_old_they_are() -> None:
    assert kept([made(n, 10_000 - n) for n in (1, 2, 3, 4, 5)]) == [3, 4, 5]
    assert kept([made(7, 10_000)]) == [7]
    assert kept([]) == []


def test_the_first_of_each_day_is_kept_for_the_days_that_were_asked_for() -> None:
    snapshots = [made(1000 - hour, hour) for hour in range(1, 24 * 10, 5)]
    found = kept(snapshots, keep_days=4)
    days = [s.created.date() for s in snapshots if s.next_offset in found[:-3] and s.created]
    # Of five days, today is the first, and has none.
    assert sorted(days) == [date(2026, 2, 26), date(2026, 2, 27), date(2026, 2, 28)]
    firsts = {s.created.date(): s.next_offset for s in snapshots if s.created}  # oldest last
    assert found[:-3] == sorted(firsts[day] for day in days)


def test_damaged_snapshots_do_not_count_among_the_three() -> None:
    snapshots = [made(n, 10_000 - n) for n in (1, 2, 3, 4)] + [made(5, None), made(6, None)]
    assert kept(snapshots) == [2, 3, 4, 5, 6]
    assert kept([*snapshots, made(7, 1), made(8, 1)]) == [4, 5, 6, 7, 8]
    assert kept([made(1, None), *(made(n, 1) for n in (2, 3, 4))]) == [2, 3, 4]


def test_offsets_that_an_operator_moved_back_keep_their_snapshots() -> None:
    ahead = [made(n, 10_000 - n) for n in (100, 110, 120, 130)]
    behind = [made(n, 9_000 - n) for n in (50, 55, 60, 65)]
    assert kept(ahead + behind, offset=65) == [55, 60, 65, 110, 120, 130]
    assert kept(ahead + behind) == [110, 120, 130]


def test_snapshot_of_an_ended_era_expires_with_its_day() -> None:
    assert not is_expired(made(1, 24 * 34), TODAY, 35)
    assert not is_expired(made(1, 24 * 34 + 1), TODAY, 36)
    assert is_expired(made(1, 24 * 34 + 1), TODAY, 35)
    assert is_expired(made(1, None), TODAY, 35)


SNAPSHOTS = st.lists(
    st.builds(made, st.integers(0, 60), st.one_of(st.none(), st.floats(0, 24 * 60))),
    unique_by=lambda snapshot: snapshot.next_offset,
    max_size=25,
)


@given(SNAPSHOTS, st.integers(0, 60), st.integers(1, 50))
def test_pruning_again_or_with_an_old_listing_deletes_nothing_that_is_needed(
    snapshots: list[Dated], offset: int, keep_days: int
) -> None:
    """Processes prune at the same time, each with what it listed."""
    first = kept(snapshots, offset, keep_days)
    left = [s for s in snapshots if s.next_offset in first]
    assert kept(left, offset, keep_days) == first
    readable = sorted(s.next_offset for s in snapshots if s.created)
    assert set(readable[-3:]) <= set(first)
    assert set([o for o in readable if o <= offset][-3:]) <= set(first)
    newer = max((s.next_offset for s in snapshots), default=0) + 1
    after = kept([*snapshots, made(newer, 0)], 10**9, keep_days)
    stale = find_expired(snapshots, 10**9, TODAY, keep_days)
    assert not {s.next_offset for s in stale} & set(after)
