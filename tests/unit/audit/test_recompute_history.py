"""History of recomputed scores: what its source is given, and what comes of what it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from stream_scorer.audit.recompute.marks import check_marks
from stream_scorer.audit.verdict import Fault
from stream_scorer.state.history_source import NoHistorySource
from tests.support.audit.audit_kit import faults
from tests.support.audit.forged_topics import PARTITIONS, REVIEW, VERSION
from tests.support.audit.recompute_kit import (
    CountingHistory,
    Fixed,
    found,
    history_topics,
    rescore,
    source_of,
)
from tests.support.factories import make_bundle


@pytest.mark.parametrize("stripe", [3, 8, 1000])
@pytest.mark.parametrize("one_in", [1, 3])
def test_history_is_attached_from_every_accepted_input_in_order(stripe: int, one_in: int) -> None:
    of, histories = history_topics(recompute=one_in)
    verdict = of.judge(stripe)
    assert faults(verdict) == {}
    assert verdict.not_recomputed == 0
    assert verdict.recomputed > 0
    for partition, seen in histories.offsets.items():
        accepted = [source_of(sent) for sent in of.scores(partition)]  # all others are refused
        assert seen == sorted(set(seen))
        assert set(seen) <= set(accepted)
        if one_in == 1 or stripe == 1000:
            assert seen == accepted
            assert 0 < histories.counts[partition] < len(accepted)
    assert histories.lost == []


def test_score_made_with_another_history_is_not_reproduced() -> None:
    of, histories = history_topics()
    of.histories = replace(histories, counts={0: 5})
    verdict = of.judge()
    assert {offender.source.partition for offender in found(verdict) if offender.source} == {0}
    assert verdict.faults[Fault.NOT_REPRODUCED] > 5


def test_score_whose_history_is_unknown_is_not_judged() -> None:
    of, histories = history_topics()
    histories.unknown_from = 20
    verdict = of.judge(stripe=4)
    assert faults(verdict) == {}
    assert set(verdict.unjudged) == {"a snapshot is missing"}
    assert 0 < verdict.not_recomputed == verdict.scores - verdict.recomputed < verdict.scores
    of.histories = NoHistorySource()
    verdict = of.judge()
    assert verdict.unjudged == {
        f"the history that version {VERSION} reads is not available": verdict.scores
    }


def test_scores_before_another_history_do_not_make_those_after_it_unknown() -> None:
    of, histories = history_topics()
    histories.unknown_from, histories.changed = 20, [20]
    verdict = of.judge(stripe=1000)
    after = sum(
        source_of(sent) >= 20 for partition in range(PARTITIONS) for sent in of.scores(partition)
    )
    assert verdict.unjudged == {"a snapshot is missing": after}
    assert verdict.recomputed == verdict.scores - after > 0


def test_history_is_notified_of_inputs_that_it_does_not_get() -> None:
    of, histories = history_topics(sample=0)
    offset = source_of(of.scores(0)[5])
    of.given[0][offset] = replace(of.given[0][offset], value=b'{"TransactionID": "x"}')
    of.removed = {1: 6}
    of.judge()
    assert histories.lost == [
        (0, f"the input at offset {offset} cannot be decoded now"),
        (1, "inputs from offset 0 to before 6 were removed"),
    ]


def test_versions_with_and_without_history_in_one_partition() -> None:
    of, _ = history_topics()
    plain = make_bundle("v4", seed=2, review=REVIEW)
    rows = rescore(of, plain, from_offset=20)
    assert rows > 5
    assert isinstance(of.bundles, Fixed)
    of.bundles.held["v4"] = plain
    verdict = of.judge(stripe=8)
    assert faults(verdict) == {}
    assert verdict.recomputed == verdict.scores


def test_check_sums_of_marks_are_compared() -> None:
    histories = CountingHistory(sums={0: "00000000000000aa", 1: "00000000000000bb"})
    marks: dict[int, tuple[int, Mapping[str, str]]] = {
        0: (10, {"t": "id", "era": "3", "sum": "00000000000000aa"}),
        1: (11, {"t": "id", "era": "3", "sum": "00000000000000cc"}),
        2: (12, {"t": "id"}),
        3: (13, {"era": "2", "sum": "00000000000000dd"}),
    }
    check = check_marks(marks, histories)
    assert check.compared == 2
    assert check.unjudged == {3: "another era"}
    (problem,) = check.problems
    assert problem.startswith("the history of partition 1 before offset 11 has check sum 00000")
    nothing = check_marks({0: (10, {"t": "id"})}, NoHistorySource())
    assert (nothing.compared, nothing.problems, nothing.unjudged) == (0, (), {})
    assert check_marks(marks, NoHistorySource()).compared == 0
    assert set(check_marks(marks, NoHistorySource()).unjudged) == {0, 1, 3}
