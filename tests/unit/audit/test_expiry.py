"""What retention may have removed, and is therefore not judged."""

from __future__ import annotations

import pytest

from stream_scorer.audit.expiry import Cuts, find_cuts
from stream_scorer.audit.records.columns import Coordinates, OutcomeKind
from stream_scorer.audit.state_file import dump_state
from stream_scorer.audit.verdict import Fault
from tests.support.audit.audit_kit import (
    STRIPES,
    MemoryTopics,
    begin,
    faults,
    judge,
    new_auditor,
    restored,
)


def expired_dead_letters(scored: int = 9, inputs: int = 10) -> MemoryTopics:
    """Scores of the first inputs; all dead letters of partition 0 have expired."""
    topics = MemoryTopics().with_inputs(range(inputs)).write([(0, i) for i in range(scored)])
    topics.emptied[OutcomeKind.DEAD_LETTER, 0] = 1
    return topics


def dead_letter_cut(at: int) -> Cuts:
    """Only dead letters from before ``at`` may have expired; scores have times from 2000 on."""
    return Cuts({OutcomeKind.SCORE: -1, OutcomeKind.DEAD_LETTER: at}, 9999)


def test_inputs_are_not_judged_when_outcomes_of_any_age_may_have_been_removed() -> None:
    verdict = judge(expired_dead_letters())
    assert verdict.is_clean
    assert (verdict.counts["not_judged"], verdict.judged) == (1, 9)


@STRIPES
def test_missing_score_is_found_though_every_dead_letter_expired(stripe: int) -> None:
    verdict = judge(expired_dead_letters(), cuts=dead_letter_cut(2000), stripe=stripe)
    assert faults(verdict) == {Fault.MISSING: 1}
    assert verdict.offenders[0].source == Coordinates(0, 9)
    assert verdict.counts["removed_early"] == 1


def test_input_before_the_cut_may_have_had_a_dead_letter() -> None:
    topics = expired_dead_letters(scored=0)
    topics.write([(0, i) for i in (0, 1, 3, 5, 6, 8, 9)])  # times 2000 to 2006
    verdict = judge(topics, cuts=dead_letter_cut(2004))  # from input 6 on nothing can have expired
    assert faults(verdict) == {Fault.MISSING: 1}
    assert verdict.offenders[0].source == Coordinates(0, 7)
    assert verdict.counts["not_judged"] == 2


def test_timestamp_of_an_input_limits_how_old_its_outcome_can_be() -> None:
    verdict = judge(expired_dead_letters(scored=0), cuts=dead_letter_cut(1006))
    assert faults(verdict) == {Fault.MISSING: 4}
    assert verdict.counts["not_judged"] == 6


def test_input_with_a_timestamp_in_the_future_proves_nothing() -> None:
    topics = expired_dead_letters(scored=0)
    topics.input_times[2] = 10_000_000
    assert judge(topics, cuts=dead_letter_cut(1006)).counts["not_judged"] == 6


def test_remaining_dead_letters_did_not_expire_whatever_the_cut() -> None:
    topics = MemoryTopics().with_inputs(range(6)).write([(0, 0), (0, 2), (0, 3), (0, 5)])
    topics.write([(0, 4)], OutcomeKind.DEAD_LETTER, at=7)
    verdict = judge(topics, cuts=dead_letter_cut(5000))
    assert verdict.is_clean
    assert verdict.counts["not_judged"] == 1


def test_removed_scores_are_missing_where_retention_cannot_have_removed_them() -> None:
    topics = MemoryTopics().with_inputs(range(4))
    topics.emptied[OutcomeKind.SCORE, 0] = 4
    verdict = judge(topics, cuts=Cuts({OutcomeKind.SCORE: 0, OutcomeKind.DEAD_LETTER: 0}, 9999))
    assert faults(verdict) == {Fault.MISSING: 4}
    assert verdict.counts["removed_early"] == 4
    verdict = judge(
        topics, cuts=Cuts({OutcomeKind.SCORE: 5000, OutcomeKind.DEAD_LETTER: 5000}, 9999)
    )
    assert (verdict.judged, verdict.counts["not_judged"]) == (0, 4)


def test_outcomes_deleted_from_a_topic_with_unlimited_retention_are_missing() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, 2), (0, 3)], at=2)
    verdict = judge(topics, cuts=Cuts({OutcomeKind.SCORE: -1, OutcomeKind.DEAD_LETTER: -1}))
    assert faults(verdict) == {Fault.MISSING: 2}
    assert verdict.counts["removed_early"] == 2


@STRIPES
def test_outcomes_that_expire_while_they_are_read_are_not_a_fault(stripe: int) -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)])
    topics.removed[OutcomeKind.SCORE, 0] = 5
    verdict = judge(
        topics,
        stripe=stripe,
        cuts=Cuts({OutcomeKind.SCORE: 2007, OutcomeKind.DEAD_LETTER: 0}, 9999),
    )
    assert verdict.is_clean
    assert verdict.counts["not_judged"] == 5


def test_resumed_run_knows_what_cannot_have_expired() -> None:
    topics = expired_dead_letters(scored=0)
    topics.write([(0, i) for i in (0, 1, 3, 4, 5, 6, 7, 8, 9)])
    auditor = new_auditor(has_next_run=True)
    run = begin(auditor, topics, stripe=5, cuts=dead_letter_cut(2001))
    kept = []
    run.checkpoint = lambda: kept.append(dump_state(auditor.state))
    run.run()
    verdict = judge(topics, auditor=restored(kept[0]), stripe=5, cuts=dead_letter_cut(2001))
    assert faults(verdict) == {Fault.MISSING: 1}


@pytest.mark.parametrize(
    ("config", "cut"),
    [
        ({"retention.ms": "604800000", "retention.bytes": "-1"}, 10**12 - 601_200_000),
        ({"retention.ms": "40000", "retention.bytes": "-1"}, 10**12 - 30_000),
        ({"retention.ms": "-1", "retention.bytes": "-1"}, -1),
        ({"retention.ms": "604800000", "retention.bytes": "1000"}, None),
        ({}, None),
    ],
)
def test_cut_follows_from_a_topics_retention_with_a_margin_for_clocks(
    config: dict[str, str], cut: int | None
) -> None:
    assert find_cuts({OutcomeKind.SCORE: config}, 10**12).at.get(OutcomeKind.SCORE) == cut
