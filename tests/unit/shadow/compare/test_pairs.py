"""Scores of two topics are joined by the coordinates of their inputs, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from stream_scorer.shadow.compare import pairs as pairs_module
from stream_scorer.shadow.compare.pairs import Side, join, no_side


def make_side(offsets: list[int], version: int = 0) -> Side:
    """The score says which record it is."""
    n, given = len(offsets), np.array(offsets, np.int64)
    return Side(
        given, given + 7, np.full(n, 1000, np.int64), (given + version / 10).astype(np.float64),
        np.zeros(n, np.int8), np.full(n, np.nan), given % 3, np.full(n, np.nan),
    )  # fmt: skip


def pages(offsets: list[int], size: int, version: int = 0) -> Iterator[Side]:
    for i in range(0, len(offsets), size):
        yield make_side(offsets[i : i + size], version)


@pytest.mark.parametrize("slack", [0, 60, 10**6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_input_that_both_have_is_found_once(seed: int, slack: int) -> None:
    rng = np.random.default_rng(seed)
    ours = np.flatnonzero(rng.random(4000) < 0.8).tolist()
    theirs = np.flatnonzero(rng.random(4000) < 0.3).tolist()
    if slack:  # out of order, and some of them twice
        theirs = (np.array(theirs) + rng.integers(0, 40, len(theirs))).argsort().argsort().tolist()
        theirs = [*theirs, *theirs[-20:]]
    found = list(join(3, pages(ours, 100), pages(theirs, 37, version=2), slack))
    offsets = [o for part in found for o in part.champion.offsets.tolist()]
    assert sorted(offsets) == sorted(set(ours) & set(theirs))
    for part in found:
        assert part.partition == 3
        assert (part.champion.offsets == part.challenger.offsets).all()
        assert part.challenger.scores.tolist() == (part.champion.offsets + 0.2).tolist()


def test_last_of_several_scores_of_one_input_counts() -> None:
    theirs = [make_side([1, 2], version=1), make_side([2], version=3)]
    (part,) = join(0, iter([make_side([1, 2])]), iter(theirs))
    assert part.challenger.scores.tolist() == [1.1, 2.3]


def test_only_what_the_other_side_may_still_have_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    take_below = pairs_module._Reading.take_below

    def watched(self: pairs_module._Reading, bound: int) -> Side:
        found = take_below(self, bound)
        held.append(sum(len(page.offsets) for page in self._held))
        return found

    monkeypatch.setattr(pairs_module._Reading, "take_below", watched)
    many = list(range(20_000))
    found = join(0, pages(many, 100), pages(many[::50], 100), slack=500)
    assert sum(map(len, found)) == 400
    assert max(held[:-2]) <= 5_000  # a page of the sparse side spans 5,000 inputs


@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("at", [0, 1500])
@pytest.mark.parametrize("offset", [2**63 - 1, 3999])
def test_few_scores_that_name_a_late_input_hide_no_other(
    is_ours: bool, at: int, offset: int
) -> None:
    good = list(range(3000))
    bad = [*good[:at], offset, offset, *good[at:]]
    sides = (bad, good) if is_ours else (good, bad)
    found = list(join(0, pages(sides[0], 100), pages(sides[1], 100), slack=200))
    offsets = [o for part in found for o in part.champion.offsets.tolist()]
    assert sorted(offsets) == good


def test_side_without_scores_has_no_pair() -> None:
    assert list(join(0, pages([1, 2], 1), iter(()))) == []
    assert list(join(0, iter(()), iter([no_side()]))) == []


def test_amount_is_what_either_score_states() -> None:
    ours, theirs = make_side([1, 2, 3]), make_side([1, 2, 3])
    ours.amounts[0], theirs.amounts[1] = 5.0, 7.0
    (part,) = join(0, iter([ours]), iter([theirs]))
    assert part.amounts[:2].tolist() == [5.0, 7.0]
    assert np.isnan(part.amounts[2])
