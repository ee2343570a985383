"""What a replay counts, and which moves it lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stream_scorer.replay.columns import NO_DECISION, NO_VERSION, Scored, Shown
from stream_scorer.replay.summary import MOST_MOVES, Summary, by_number

NAN = float("nan")


def scored(scores: Sequence[float], decisions: Sequence[int], version: str = "v1") -> Scored:
    there = ~np.isnan(np.array(scores))
    return Scored(
        np.array(scores),
        np.array(decisions, np.int8),
        np.where(there, 0, NO_VERSION).astype(np.int32),
        (version,),
        {"it is not there": int((~there).sum())} if not there.all() else {},
    )


def explained(side: str) -> object:
    return lambda row: [Shown(f"{side}{row}", None, 0.5)]


def add(summary: Summary, before: Scored, now: Scored, partition: int = 0, at: int = 100) -> None:
    offsets = np.arange(at, at + len(before.scores))
    summary.add(partition, offsets, offsets * 10, before, now, (explained("old"), explained("new")))  # type: ignore[arg-type]


def test_decisions_are_counted_by_what_they_were_and_are() -> None:
    summary, before = Summary(), scored([0.1, 0.2, 0.6, 0.95], [0, 0, 1, 2])
    add(summary, before, scored([0.1, 0.7, 0.2, 0.95], [0, 1, 0, 2]))
    add(summary, scored([0.3], [0]), scored([0.99], [2]), partition=1)
    assert summary.decisions.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 1]]
    assert (summary.inputs, summary.compared, summary.equal, summary.moved) == (5, 5, 2, 3)
    assert summary.flagged() == (2, 3)
    as_json = summary.as_json()
    assert as_json["decisions"]["REVIEW"] == {"APPROVE": 1, "REVIEW": 0, "BLOCK": 0}
    assert as_json["flag_rate"] == {"before": 0.4, "replayed": 0.6}
    assert as_json["versions_before"] == {"v1": 5}


def test_score_is_equal_only_if_every_bit_and_the_decision_are() -> None:
    summary = Summary()
    before = scored([0.5, 0.5, 0.0, 0.25], [1, 1, 0, 0])
    now = scored([0.5, float(np.nextafter(0.5, 1)), -0.0, 0.25], [1, 1, 0, 1])
    add(summary, before, now)
    assert summary.equal == 1


def test_rows_without_a_score_on_one_side_are_not_compared() -> None:
    summary = Summary()
    before = scored([0.1, NAN, 0.3, NAN], [0, NO_DECISION, 0, NO_DECISION])
    now = scored([0.1, 0.9, NAN, NAN], [0, 2, NO_DECISION, NO_DECISION], "v2")
    add(summary, before, now)
    assert (summary.inputs, summary.compared, summary.equal) == (4, 1, 1)
    assert summary.unscored == {"it is not there": 4}
    assert summary.decisions.sum() == 1
    assert summary.moves == []
    assert Summary().as_json()["flag_rate"] == {"before": None, "replayed": None}


def test_moves_are_those_of_all_batches_farthest_first_with_the_reasons_of_both_sides() -> None:
    summary, rng = Summary(), np.random.default_rng(1)
    old, new = rng.random(400), rng.random(400)
    for start in range(0, 400, 37):
        rows = slice(start, start + 37)
        size = len(old[rows])
        zeros = [0] * size
        add(summary, scored(old[rows], zeros), scored(new[rows], zeros, "v2"), at=start)  # type: ignore[arg-type]
    expected = np.argsort(-np.abs(new - old), kind="stable")[:MOST_MOVES]
    assert [move.offset for move in summary.moves] == expected.tolist()
    first = summary.moves[0]
    row = first.offset % 37
    assert first.transaction == first.offset * 10
    assert first.scores == (old[first.offset], new[first.offset])
    assert first.versions == ("v1", "v2")
    assert [reasons[0].feature for reasons in first.reasons] == [f"old{row}", f"new{row}"]
    assert first.as_json()["replayed"]["reasons"] == [
        {"feature": f"new{row}", "value": None, "contribution": 0.5}
    ]


def test_reasons_are_asked_for_only_where_a_move_is_listed() -> None:
    summary, asked = Summary(), list[int]()

    def explain(row: int) -> list[Shown]:
        asked.append(row)
        return []

    for start in (0, 100, 200):
        scores = np.linspace(0.5 if start else 0.9, 0.1, 100)
        offsets = np.arange(start, start + 100)
        summary.add(
            0, offsets, offsets, scored(scores * 0, [0] * 100), scored(scores, [0] * 100),  # type: ignore[arg-type]
            (explain, explain),
        )  # fmt: skip
    assert len(asked) == 2 * MOST_MOVES
    assert len(summary.moves) == MOST_MOVES


@pytest.mark.parametrize("reasons", [{"a": 1, "b": 5, "c": 1}])
def test_reasons_are_listed_by_number(reasons: dict[str, int]) -> None:
    assert by_number(reasons) == [("b", 5), ("a", 1), ("c", 1)]
