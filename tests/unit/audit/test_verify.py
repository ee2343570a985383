"""The audit behind ``stream-scorer verify``, on topics made by hand."""

from __future__ import annotations

import hashlib
import random
import struct
from collections import Counter

import pytest

from stream_scorer.audit.auditor import Audit
from stream_scorer.audit.expiry import Cuts, find_cuts
from stream_scorer.audit.findings import Coordinates, Fault, OutcomeKind, Verdict
from stream_scorer.audit.ledger import Ledger
from stream_scorer.audit.outcome_reader import key_hash
from stream_scorer.audit.run import plan_stripes
from stream_scorer.audit.state_file import dump_audit, parse_audit
from stream_scorer.audit.versions import MOST_INTERVALS, affected
from stream_scorer.errors import UsageError
from stream_scorer.kafka.spans import Span
from tests.support.audit_kit import MemoryTopics, Row, begin, faults, judge

STRIPES = pytest.mark.parametrize("stripe", [1, 2, 3, 1000])
"""From a stripe for each input to one for all: the verdict must not depend on it."""


def five() -> MemoryTopics:
    """Five inputs in partition 0."""
    return MemoryTopics().with_inputs(range(5))


@STRIPES
def test_one_outcome_for_each_input_in_order_is_clean(stripe: int) -> None:
    topics = five().write([(0, 0), (0, 1), (0, 3)]).write([(0, 2), (0, 4)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, stripe=stripe)
    assert verdict.is_clean
    assert (verdict.inputs, verdict.scores, verdict.dead_letters) == (5, 3, 2)
    assert (verdict.partitions[0].first, verdict.partitions[0].last) == (0, 4)
    assert verdict.times == (1000, 1004)


@STRIPES
def test_missing_outcome_is_named(stripe: int) -> None:
    verdict = judge(five().write([(0, 0), (0, 1), (0, 3), (0, 4)]), stripe=stripe)
    assert faults(verdict) == {Fault.MISSING: 1}
    assert verdict.offenders[0].source == Coordinates(0, 2)
    assert verdict.partitions[0].missing == 1


@STRIPES
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_second_outcome_is_a_duplicate(stripe: int, batch: int) -> None:
    topics = five().write([(0, 0), (0, 1), (0, 2), (0, 2), (0, 3), (0, 4)])
    topics.batch = batch
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.DUPLICATE: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 3)
    assert verdict.offenders[0].source == Coordinates(0, 2)


@STRIPES
def test_duplicate_long_after_the_first_is_found(stripe: int) -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)] + [(0, 1)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.DUPLICATE: 1, Fault.OUT_OF_ORDER: 1}


@STRIPES
def test_score_and_dead_letter_of_one_input_are_a_duplicate(stripe: int) -> None:
    topics = (
        MemoryTopics().with_inputs([0]).write([(0, 0)]).write([(0, 0)], OutcomeKind.DEAD_LETTER)
    )
    assert faults(judge(topics, stripe=stripe)) == {Fault.DUPLICATE: 1}


def test_hundreds_of_outcomes_of_one_input_never_look_like_none() -> None:
    topics = MemoryTopics(batch=200).with_inputs([0]).write([(0, 0)] * 600)
    assert faults(judge(topics)) == {Fault.DUPLICATE: 599}


@STRIPES
@pytest.mark.parametrize("batch", [2, 100])
def test_score_after_that_of_a_later_input_is_out_of_order(stripe: int, batch: int) -> None:
    topics = MemoryTopics(batch=batch).with_inputs([0, 1, 2]).write([(0, 0), (0, 2), (0, 1)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.OUT_OF_ORDER: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


def test_reversed_scores_are_out_of_order_but_all_there() -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in reversed(range(10))])
    assert faults(judge(topics, stripe=3)) == {Fault.OUT_OF_ORDER: 9}


def test_gaps_of_txn_markers_and_aborted_records_need_no_outcome() -> None:
    topics = MemoryTopics().with_inputs([0, 3, 7]).write([(0, 0), (0, 3), (0, 7)])
    assert judge(topics).is_clean


@STRIPES
def test_outcome_of_a_gap_is_an_orphan(stripe: int) -> None:
    topics = MemoryTopics().with_inputs([0, 3]).write([(0, 0), (0, 1), (0, 3)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.ORPHAN: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


def test_outcome_of_a_gap_in_a_compacted_input_is_counted_and_no_fault() -> None:
    topics = MemoryTopics().with_inputs([0, 3]).write([(0, 0), (0, 1), (0, 3)])
    verdict = judge(topics, audit=Audit(is_compacted=True))
    assert verdict.is_clean
    assert verdict.counts["compacted"] == 1


@STRIPES
@pytest.mark.parametrize("source", [(7, 0), (-1, -1), (0, 99), (1, 99), (0, 2**61)])
def test_outcome_of_what_never_was_is_an_orphan(stripe: int, source: tuple[int, int]) -> None:
    topics = MemoryTopics().with_inputs([0, 4]).write([(0, 0), source, (0, 4)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.ORPHAN: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 1)


def test_outcome_in_a_partition_the_input_does_not_have_is_found() -> None:
    topics = MemoryTopics().with_inputs([0]).write([(0, 0)], partition=7)
    assert faults(judge(topics)) == {Fault.WRONG_PARTITION: 1}


def test_outcome_of_an_input_that_came_later_is_counted_and_no_fault() -> None:
    topics = MemoryTopics(now={0: Span(0, 15), 1: Span(0, 10)}).with_inputs([0])
    verdict = judge(topics.write([(0, 0), (0, 12)]))
    assert verdict.is_clean
    assert verdict.later == 1


def test_outcome_of_an_input_that_retention_removed_is_counted_and_no_fault() -> None:
    topics = MemoryTopics(spans={0: Span(5, 10)}, now={0: Span(7, 10)})  # 5 goes while it reads
    topics.with_inputs([7, 8]).write([(0, 4), (0, 5), (0, 7), (0, 8)])
    verdict = judge(topics)
    assert verdict.is_clean
    assert verdict.expired == 2


def test_inputs_whose_outcomes_expired_are_not_judged() -> None:
    verdict = judge(MemoryTopics().with_inputs(range(4)).write([(0, 2), (0, 3)], at=2))
    assert verdict.is_clean
    assert verdict.counts["not_judged"] == 2


# --- what retention may have removed


def expired_letters(scored: int = 9, inputs: int = 10) -> MemoryTopics:
    """Scores of the first inputs; of the dead letters of partition 0, all expired."""
    topics = MemoryTopics().with_inputs(range(inputs)).write([(0, i) for i in range(scored)])
    topics.emptied[OutcomeKind.DEAD_LETTER, 0] = 1
    return topics


def letters_cut(at: int) -> Cuts:
    """Dead letters from before then may have expired, and nothing else; scores are from 2000 on."""
    return Cuts({OutcomeKind.SCORE: -1, OutcomeKind.DEAD_LETTER: at}, 9999)


def test_inputs_are_not_judged_when_outcomes_of_any_age_may_have_been_removed() -> None:
    verdict = judge(expired_letters())
    assert verdict.is_clean
    assert (verdict.counts["not_judged"], verdict.judged) == (1, 9)


@STRIPES
def test_missing_score_is_found_though_every_dead_letter_expired(stripe: int) -> None:
    verdict = judge(expired_letters(), cuts=letters_cut(2000), stripe=stripe)
    assert faults(verdict) == {Fault.MISSING: 1}
    assert verdict.offenders[0].source == Coordinates(0, 9)
    assert verdict.counts["removed_early"] == 1


def test_input_from_before_the_cut_may_have_had_a_dead_letter() -> None:
    topics = expired_letters(scored=0)
    topics.write([(0, i) for i in (0, 1, 3, 5, 6, 8, 9)])  # in their order, from 2000 to 2006
    verdict = judge(topics, cuts=letters_cut(2004))  # what comes after input 6 cannot have expired
    assert faults(verdict) == {Fault.MISSING: 1}
    assert verdict.offenders[0].source == Coordinates(0, 7)
    assert verdict.counts["not_judged"] == 2


def test_input_itself_shows_how_old_its_outcome_can_be() -> None:
    verdict = judge(expired_letters(scored=0), cuts=letters_cut(1006))
    assert faults(verdict) == {Fault.MISSING: 4}
    assert verdict.counts["not_judged"] == 6


def test_input_stamped_in_the_future_shows_nothing() -> None:
    topics = expired_letters(scored=0)
    topics.input_times[2] = 10_000_000
    assert judge(topics, cuts=letters_cut(1006)).counts["not_judged"] == 6


def test_dead_letters_left_are_the_first_that_did_not_expire_whatever_the_cut() -> None:
    topics = MemoryTopics().with_inputs(range(6)).write([(0, 0), (0, 2), (0, 3), (0, 5)])
    topics.write([(0, 4)], OutcomeKind.DEAD_LETTER, at=7)
    verdict = judge(topics, cuts=letters_cut(5000))
    assert verdict.is_clean
    assert verdict.counts["not_judged"] == 1


def test_scores_that_are_all_gone_are_missing_where_retention_cannot_have_removed_them() -> None:
    topics = MemoryTopics().with_inputs(range(4))
    topics.emptied[OutcomeKind.SCORE, 0] = 4
    verdict = judge(topics, cuts=Cuts({OutcomeKind.SCORE: 0, OutcomeKind.DEAD_LETTER: 0}, 9999))
    assert faults(verdict) == {Fault.MISSING: 4}
    assert verdict.counts["removed_early"] == 4
    verdict = judge(
        topics, cuts=Cuts({OutcomeKind.SCORE: 5000, OutcomeKind.DEAD_LETTER: 5000}, 9999)
    )
    assert (verdict.judged, verdict.counts["not_judged"]) == (0, 4)


def test_outcomes_deleted_from_a_topic_that_keeps_all_are_missing() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, 2), (0, 3)], at=2)
    verdict = judge(topics, cuts=Cuts({OutcomeKind.SCORE: -1, OutcomeKind.DEAD_LETTER: -1}))
    assert faults(verdict) == {Fault.MISSING: 2}
    assert verdict.counts["removed_early"] == 2


@STRIPES
def test_outcomes_that_expire_while_they_are_read_are_no_fault(stripe: int) -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)])
    topics.removed[OutcomeKind.SCORE, 0] = 5
    verdict = judge(
        topics,
        stripe=stripe,
        cuts=Cuts({OutcomeKind.SCORE: 2007, OutcomeKind.DEAD_LETTER: 0}, 9999),
    )
    assert verdict.is_clean
    assert verdict.counts["not_judged"] == 5


def test_interrupted_run_remembers_what_cannot_have_expired() -> None:
    topics = expired_letters(scored=0)
    topics.write([(0, i) for i in (0, 1, 3, 4, 5, 6, 7, 8, 9)])
    audit = Audit(is_carrying=True)
    run = begin(audit, topics, stripe=5, cuts=letters_cut(2001))
    kept = []
    run.checkpoint = lambda: kept.append(dump_audit(audit))
    run.run()
    verdict = judge(topics, audit=parse_audit(kept[0], 20), stripe=5, cuts=letters_cut(2001))
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
def test_cut_follows_from_a_topics_retention_with_room_for_clocks(
    config: dict[str, str], cut: int | None
) -> None:
    assert find_cuts({OutcomeKind.SCORE: config}, 10**12).at.get(OutcomeKind.SCORE) == cut


# --- what a score says


@STRIPES
def test_score_of_another_transaction_than_its_inputs_is_a_fault(stripe: int) -> None:
    topics = five().write([(0, 0), Row((0, 1), transaction=2), Row((0, 2), transaction=1)])
    topics.write([(0, 3), (0, 4)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.WRONG_TRANSACTION: 2}
    assert verdict.offenders[0].source == Coordinates(0, 1)
    assert verdict.counts["transactions_compared"] == 3


def test_score_of_an_input_that_cannot_be_read_is_counted_and_no_fault() -> None:
    topics = five().write([(0, i) for i in range(4)]).write([(0, 4)], OutcomeKind.DEAD_LETTER)
    topics.unreadable = {2, 4}
    verdict = judge(topics)
    assert verdict.is_clean
    assert (verdict.counts["inputs_unread"], verdict.counts["transactions_compared"]) == (1, 3)


@STRIPES
def test_score_at_odds_with_itself_is_a_fault(stripe: int) -> None:
    topics = five().write([(0, 0), Row((0, 1), is_plausible=False), (0, 2), (0, 3), (0, 4)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.IMPLAUSIBLE: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 1)


def test_what_a_waiting_score_says_is_judged_with_its_input() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, 0), (0, 1)])
    topics.write([Row((0, 2), transaction=9), Row((0, 3), is_plausible=False)])
    audit = Audit(is_carrying=True)
    assert judge(topics, audit=audit, edges={0: 2, 1: 0}).is_clean
    verdict = judge(topics, audit=reloaded(audit))
    assert faults(verdict) == {Fault.WRONG_TRANSACTION: 1, Fault.IMPLAUSIBLE: 1}


def test_outcomes_that_come_after_their_stripe_are_counted_as_not_compared() -> None:
    topics = MemoryTopics({0: Span(0, 12)}, batch=1).with_inputs(range(12))
    topics.write([(0, i) for i in range(4, 11)])
    topics.write([(0, 11), *(Row((0, i), key=1) for i in range(4))], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics)
    assert (faults(verdict), verdict.counts.get("keys_not_compared")) == (
        {Fault.WRONG_KEY: 4},
        None,
    )
    verdict = judge(topics, stripe=3)
    assert (verdict.is_clean, verdict.counts["keys_not_compared"]) == (True, 4)


@STRIPES
@pytest.mark.parametrize("home", [0, 1])
def test_outcome_in_another_partition_is_a_fault_and_still_counts(stripe: int, home: int) -> None:
    topics = MemoryTopics().with_inputs([0, 5], home).write([(home, 0)], partition=home)
    topics.write([(home, 5)], partition=1 - home)
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.WRONG_PARTITION: 1}
    assert verdict.offenders[0].outcome == Coordinates(1 - home, 0)


def test_outcome_with_another_key_is_a_fault() -> None:
    topics = MemoryTopics().with_inputs([0, 1]).write([(0, 0), Row((0, 1), key=key_hash(None))])
    verdict = judge(topics)
    assert faults(verdict) == {Fault.WRONG_KEY: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


def test_unreadable_outcome_is_a_fault() -> None:
    verdict = judge(MemoryTopics().with_inputs([0]).write([(0, 0), Row(None)]))
    assert faults(verdict) == {Fault.UNREADABLE: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 1)
    assert verdict.scores == 2


def test_redriven_inputs_are_counted_and_each_dead_letter_comes_back_once() -> None:
    topics = five().write([(0, i) for i in range(5)])
    topics.inputs_at[0] |= {2: (1, 7), 3: (0, 7)}
    verdict = judge(topics)
    assert verdict.is_clean
    assert verdict.counts["redriven"] == 2
    topics.inputs_at[0][4] = (1, 7)
    verdict = judge(topics)
    assert faults(verdict) == {Fault.REDRIVEN_TWICE: 1}
    assert verdict.offenders[0].source == Coordinates(0, 4)
    assert verdict.offenders[0].outcome == Coordinates(1, 7)


def test_only_so_many_offenders_are_named_but_all_are_counted_and_each_fault_has_one() -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, 99), (0, 98), Row(None)])
    verdict = judge(topics, limit=3)
    assert verdict.faults[Fault.MISSING] == 10
    assert [o.fault for o in verdict.offenders] == [Fault.MISSING, Fault.ORPHAN, Fault.UNREADABLE]


# --- ranges


def test_inputs_before_the_range_are_neither_read_nor_judged() -> None:
    verdict = judge(five().write([(0, 0), (0, 3), (0, 4)]), lows={0: 3})
    assert verdict.is_clean
    assert (verdict.inputs, verdict.expired) == (2, 1)


def test_inputs_after_the_range_are_neither_read_nor_judged() -> None:
    verdict = judge(five().write([(0, 0), (0, 1), (0, 4)]), edges={0: 2, 1: 10})
    assert verdict.is_clean
    assert (verdict.inputs, verdict.later) == (2, 1)


# --- digest


@STRIPES
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_digest_depends_on_the_outcomes_but_not_on_how_they_were_read(
    stripe: int, batch: int
) -> None:
    topics = five().write([(0, 0), (0, 1), (0, 2), (0, 3)]).write([(0, 4)], OutcomeKind.DEAD_LETTER)
    whole = judge(topics).digest
    topics.batch = batch
    assert judge(topics, stripe=stripe).digest == whole
    topics.rows[OutcomeKind.SCORE, 0][2] = Row((0, 2), value=b"another score")
    assert judge(topics).digest != whole


def test_digest_can_be_computed_again_from_its_description() -> None:
    topics = (
        five().write([(0, 0), Row((0, 1), value=b"x")]).write([(0, 2)], OutcomeKind.DEAD_LETTER)
    )
    lines = ""
    for kind, rows in (("dead_letter", [(0, 2, b"score")]),
                       ("score", [(0, 0, b"score"), (1, 1, b"x")])):  # fmt: skip
        chain = bytes(32)
        for offset, source, value in rows:
            leaf = hashlib.sha256(struct.pack("<qqq", offset, 0, source) + value).digest()
            chain = hashlib.sha256(chain + leaf).digest()
        lines += f"{kind}:0:{len(rows)}:{chain.hex()}\n"
    assert judge(topics).digest == hashlib.sha256(lines.encode()).hexdigest()


# --- model versions


def test_what_a_version_scored_is_listed_in_intervals() -> None:
    topics = MemoryTopics(batch=3).with_inputs(range(8))
    topics.write([Row((0, i), version=v) for i, v in enumerate(["v1", "v2", "v2", "v1"])])
    topics.write([Row((0, i), version="v2") for i in range(4, 8)])
    verdict = judge(topics)
    assert verdict.versions == {"v1": 2, "v2": 6}
    (found,) = affected(verdict.intervals, "v2")
    assert {k: v for k, v in found.items() if k != "intervals"} == {
        "partition": 0,
        "first_offset": 1,
        "last_offset": 7,
        "first_time": 2001,
        "last_time": 2007,
        "count": 6,
    }
    spans = [(i["first_offset"], i["last_offset"], i["count"]) for i in found["intervals"]]
    assert spans == [(1, 2, 2), (4, 7, 4)]
    assert affected(verdict.intervals, "v9") == []


def test_intervals_of_one_version_are_bounded() -> None:
    size = 2 * MOST_INTERVALS + 100
    topics = MemoryTopics({0: Span(0, size)}, batch=500).with_inputs(range(size))
    topics.write([Row((0, i), version=f"v{i % 2}") for i in range(size)])
    (found,) = affected(judge(topics, stripe=size).intervals, "v0")
    assert len(found["intervals"]) == MOST_INTERVALS
    assert (found["count"], found["last_offset"]) == (size // 2, size - 2)


# --- memory and stripes


def test_stripes_take_small_partitions_together_and_cut_large_ones() -> None:
    ledgers = {p: Ledger(0, edge) for p, edge in enumerate([3, 4, 25, 0, 5])}
    planned = list(plan_stripes(ledgers, 10))
    assert planned == [{2: 10}, {2: 20}, {2: 25}, {0: 3, 1: 4, 3: 0}, {4: 5}]


def test_outcomes_are_read_no_further_than_the_stripe_needs() -> None:
    topics = MemoryTopics({0: Span(0, 1000)}, batch=10).with_inputs(range(1000))
    topics.write([(0, i) for i in range(1000)])
    audit = Audit()
    run = begin(audit, topics, stripe=100)
    positions: list[int] = []
    run.checkpoint = lambda: positions.append(audit.logs[OutcomeKind.SCORE, 0].position)
    assert run.run().is_clean
    assert positions == list(range(100, 1001, 100))
    assert topics.reads == 2000


def test_progress_ends_at_the_whole() -> None:
    told: list[tuple[int, int]] = []
    topics = five().write([(0, 0), (0, 1), Row(None), (0, 4)])
    run = begin(Audit(), topics, stripe=2)
    run.on_progress = lambda done, total: told.append((done, total))
    run.run()
    assert told[0] == (0, 24)
    assert told[-1] == (24, 24)
    assert told == sorted(told)


# --- state


def reloaded(audit: Audit) -> Audit:
    return parse_audit(dump_audit(audit), 20)


def test_audit_goes_on_and_reads_only_what_is_new() -> None:
    whole = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)])
    part = MemoryTopics({0: Span(0, 6), 1: Span(0, 0)})
    part.with_inputs(range(6)).write([(0, i) for i in range(6)])
    audit = Audit(is_carrying=True)
    assert judge(part, audit=audit, stripe=4).is_clean
    audit = reloaded(audit)
    verdict = judge(whole, audit=audit, stripe=4)
    assert verdict.is_clean
    assert (verdict.inputs, verdict.scores, whole.reads) == (4, 4, 8)
    assert verdict.totals["inputs"] == 10
    assert verdict.digest == judge(whole).digest
    assert affected(verdict.intervals, "v1")[0]["count"] == 10


def test_outcomes_beyond_the_edge_wait_for_the_next_run() -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(8)])
    audit = Audit(is_carrying=True)
    verdict = judge(topics, audit=audit, edges={0: 5, 1: 0})
    assert verdict.is_clean
    assert verdict.counts["waiting"] == 3
    audit = reloaded(audit)
    topics.write([(0, 8), (0, 9)])
    verdict = judge(topics, audit=audit)
    assert verdict.is_clean
    assert verdict.inputs == 5
    assert verdict.digest == judge(topics).digest


def test_outcome_that_waited_and_is_doubled_is_found_by_the_next_run() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, i) for i in (0, 1, 2, 3)])
    audit = Audit(is_carrying=True)
    judge(topics, audit=audit, edges={0: 2, 1: 0})
    audit = reloaded(audit)
    topics.write([(0, 3)])
    assert faults(judge(topics, audit=audit)) == {Fault.DUPLICATE: 1}


def test_duplicate_of_what_an_earlier_run_settled_is_found() -> None:
    topics = five().write([(0, i) for i in range(5)])
    audit = Audit(is_carrying=True)
    judge(topics, audit=audit)
    audit = reloaded(audit)
    topics.write([(0, 2)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, audit=audit)
    assert faults(verdict) == {Fault.DUPLICATE: 1}
    assert verdict.offenders[0].source == Coordinates(0, 2)


def test_missing_outcome_is_reported_once_and_its_late_arrival_told() -> None:
    topics = five().write([(0, i) for i in (0, 1, 3, 4)])
    audit = Audit(is_carrying=True)
    assert faults(judge(topics, audit=audit)) == {Fault.MISSING: 1}
    audit = reloaded(audit)
    assert judge(topics, audit=audit).is_clean
    topics.write([(0, 2)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, audit=reloaded(audit))
    assert verdict.is_clean
    assert verdict.counts["settled_late"] == 1
    assert verdict.totals[Fault.MISSING] == 1


def test_dead_letter_redriven_again_in_a_later_run_is_found() -> None:
    topics = five().write([(0, i) for i in range(5)])
    topics.inputs_at[0] |= {1: (0, 7), 4: (0, 7)}
    audit = Audit(is_carrying=True)
    assert judge(topics, audit=audit, edges={0: 3, 1: 0}).is_clean
    verdict = judge(topics, audit=reloaded(audit))
    assert faults(verdict) == {Fault.REDRIVEN_TWICE: 1}
    assert verdict.offenders[0].source == Coordinates(0, 4)


def test_inputs_that_expired_between_two_runs_are_told() -> None:
    topics = five().write([(0, i) for i in range(5)])
    audit = Audit(is_carrying=True)
    judge(topics, audit=audit, edges={0: 5, 1: 0})
    later = MemoryTopics({0: Span(8, 10), 1: Span(0, 0)}).with_inputs([8, 9])
    later.write([(0, i) for i in range(10)])
    verdict = judge(later, audit=reloaded(audit))
    assert verdict.is_clean
    assert verdict.counts["unaudited"] == 3
    assert verdict.expired == 3


@pytest.mark.parametrize("after", range(6))
def test_interrupted_run_goes_on_from_its_last_checkpoint_with_what_it_had_found(
    after: int,
) -> None:
    topics = MemoryTopics(batch=2).with_inputs(range(10)).with_inputs(range(6), 1)
    topics.write([(0, i) for i in (0, 0, 1, 2, 4, 5, 7, 8, 9, 6)] + [(1, 3)])
    topics.write([(1, i) for i in (0, 1, 2, 4)] + [(0, 3), (0, 77)], partition=1)
    topics.write([(1, 5)], OutcomeKind.DEAD_LETTER, 1)
    wanted = judge(topics, stripe=3)
    audit = Audit(is_carrying=True)
    run = begin(audit, topics, stripe=3)
    kept = [dump_audit(audit)]

    def checkpoint() -> None:
        kept.append(dump_audit(audit))
        if len(kept) > after:
            raise KeyboardInterrupt

    run.checkpoint = checkpoint
    with pytest.raises(KeyboardInterrupt):
        run.run()
    verdict = judge(topics, audit=parse_audit(kept[-1], 20), stripe=3)
    assert faults(verdict) == faults(wanted)
    assert verdict.offenders == wanted.offenders
    assert (counts(verdict), verdict.partitions) == (counts(wanted), wanted.partitions)
    assert (verdict.digest, verdict.times) == (wanted.digest, wanted.times)


def counts(verdict: Verdict) -> dict[str, int]:
    """Without what depends on where a stripe ends."""
    depends = ("keys_not_compared", "transactions_compared")
    return {name: n for name, n in verdict.counts.items() if name not in depends}


# --- against counting by hand


def random_topics(rng: random.Random) -> tuple[MemoryTopics, dict[Fault, int]]:
    """Topics with faults planted at random, and how many of each there are."""
    topics = MemoryTopics({p: Span(0, 40) for p in range(3)}, batch=rng.randrange(1, 9))
    planted: Counter[Fault] = Counter()
    for partition in range(3):
        present = sorted(rng.sample(range(40), rng.randrange(20, 40)))
        gaps = sorted(set(range(40)) - set(present))
        topics.with_inputs(present, partition)
        scores: list[tuple[int, int]] = []
        letters: list[tuple[int, int]] = []
        for offset in present:
            to = letters if rng.random() < 0.2 else scores
            if rng.random() < 0.05:
                planted[Fault.MISSING] += 1
                continue
            to.append((partition, offset))
            if rng.random() < 0.05:
                to.append((partition, offset))
                planted[Fault.DUPLICATE] += 1
        if gaps and rng.random() < 0.5:
            letters.insert(rng.randrange(len(letters) + 1), (partition, rng.choice(gaps)))
            planted[Fault.ORPHAN] += 1
        if rng.random() < 0.5:
            letters.insert(0, (partition, 10**6))
            planted[Fault.ORPHAN] += 1
        topics.write(letters, OutcomeKind.DEAD_LETTER, partition)
        stray = scores.pop() if rng.random() < 0.5 else None
        topics.write(scores, OutcomeKind.SCORE, partition)
        if stray:
            topics.write([stray], OutcomeKind.SCORE, (partition + 1) % 3)
            planted[Fault.WRONG_PARTITION] += 1
    return topics, dict(planted)


@pytest.mark.parametrize("seed", range(30))
def test_faults_planted_at_random_are_counted_exactly(seed: int) -> None:
    rng = random.Random(seed)
    topics, planted = random_topics(rng)
    verdict = judge(topics, stripe=rng.choice([1, 7, 16, 1000]))
    assert faults(verdict) == {f: n for f, n in planted.items() if n}


@pytest.mark.parametrize("seed", range(30))
def test_faults_are_the_same_when_the_audit_comes_in_several_runs(seed: int) -> None:
    rng = random.Random(seed)
    topics, planted = random_topics(rng)
    audit = Audit(is_carrying=True)
    total: Counter[Fault] = Counter()
    for edge in [*sorted(rng.sample(range(41), 3)), 40]:
        verdict = judge(topics, audit=audit, edges=dict.fromkeys(range(3), edge), stripe=7)
        total.update(faults(verdict))
        audit = reloaded(audit)
    assert dict(total) == {f: n for f, n in planted.items() if n}


def test_outcomes_of_nothing_are_judged_as_they_come_and_not_heaped_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.audit.run._DOUBTFUL", 10)
    topics = MemoryTopics().write([(0, 100 + i) for i in range(200)])
    audit = Audit()
    run = begin(audit, topics)
    run._resolve_at = 10
    most = 0

    def look(_done: int, _total: int) -> None:
        nonlocal most
        most = max(most, audit.doubtful)

    run.on_progress = look
    assert faults(run.run()) == {Fault.ORPHAN: 200}
    assert most <= 10 + topics.batch


def test_outcomes_of_uncommitted_inputs_without_end_point_to_the_wrong_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.audit.run._MOST_WAITING", 5)
    monkeypatch.setattr("stream_scorer.audit.run._DOUBTFUL", 1)
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)])
    run = begin(Audit(is_carrying=True), topics, edges={0: 0, 1: 0})
    run._resolve_at = 3
    with pytest.raises(UsageError, match="KAFKA_GROUP_ID"):
        run.run()


def test_too_many_outcomes_in_wrong_partitions_are_let_go_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.audit.auditor.MOST_STRAYS", 3)
    topics = MemoryTopics().with_inputs(range(5), 1).write([(1, i) for i in range(5)])
    run = begin(Audit(), topics, stripe=5)
    run._resolve_at = 4
    verdict = run.run()
    assert verdict.faults[Fault.WRONG_PARTITION] == 5
    assert verdict.counts["unplaced"] == 4
    assert verdict.faults[Fault.MISSING] == 4
