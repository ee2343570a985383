"""The auditor on topics in memory: which faults it finds."""

from __future__ import annotations

import hashlib
import struct

import pytest

from stream_scorer.audit.auditor import Auditor
from stream_scorer.audit.records.columns import Content, Coordinates, Mark, OutcomeKind
from stream_scorer.audit.records.outcome_reader import key_hash
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.verdict import Fault
from stream_scorer.audit.versions import MOST_INTERVALS, affected
from stream_scorer.kafka.spans import Span
from tests.support.audit.audit_kit import (
    STRIPES,
    MemoryTopics,
    Row,
    faults,
    five,
    judge,
)


@STRIPES
def test_one_outcome_for_each_input_in_order_is_clean(stripe: int) -> None:
    topics = five().write([(0, 0), (0, 1), (0, 3)]).write([(0, 2), (0, 4)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, stripe=stripe)
    assert verdict.is_clean
    assert (verdict.inputs, verdict.scores, verdict.dead_letters) == (5, 3, 2)
    assert (verdict.partitions[0].first, verdict.partitions[0].last) == (0, 4)
    assert verdict.times == (1000, 1004)


@STRIPES
def test_missing_outcome_is_reported(stripe: int) -> None:
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


def test_every_one_of_hundreds_of_outcomes_of_one_input_counts() -> None:
    topics = MemoryTopics(batch=200).with_inputs([0]).write([(0, 0)] * 600)
    assert faults(judge(topics)) == {Fault.DUPLICATE: 599}


@STRIPES
@pytest.mark.parametrize("batch", [2, 100])
def test_score_after_the_score_of_a_later_input_is_out_of_order(stripe: int, batch: int) -> None:
    topics = MemoryTopics(batch=batch).with_inputs([0, 1, 2]).write([(0, 0), (0, 2), (0, 1)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.OUT_OF_ORDER: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


def test_reversed_scores_are_out_of_order_but_not_missing() -> None:
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


def test_outcome_of_a_gap_in_a_compacted_input_is_counted_but_not_a_fault() -> None:
    topics = MemoryTopics().with_inputs([0, 3]).write([(0, 0), (0, 1), (0, 3)])
    verdict = judge(topics, auditor=Auditor(AuditState(), is_compacted=True))
    assert verdict.is_clean
    assert verdict.counts["compacted"] == 1


@STRIPES
@pytest.mark.parametrize("source", [(7, 0), (-1, -1), (0, 99), (1, 99), (0, 2**61)])
def test_outcome_of_an_input_that_does_not_exist_is_an_orphan(
    stripe: int, source: tuple[int, int]
) -> None:
    topics = MemoryTopics().with_inputs([0, 4]).write([(0, 0), source, (0, 4)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.ORPHAN: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 1)


def test_outcome_in_a_partition_the_input_does_not_have_is_found() -> None:
    topics = MemoryTopics().with_inputs([0]).write([(0, 0)], partition=7)
    assert faults(judge(topics)) == {Fault.WRONG_PARTITION: 1}


def test_outcome_of_an_input_that_arrived_later_is_counted_but_not_a_fault() -> None:
    topics = MemoryTopics(now={0: Span(0, 15), 1: Span(0, 10)}).with_inputs([0])
    verdict = judge(topics.write([(0, 0), (0, 12)]))
    assert verdict.is_clean
    assert verdict.later == 1


def test_outcome_of_an_input_that_retention_removed_is_counted_but_not_a_fault() -> None:
    topics = MemoryTopics(spans={0: Span(5, 10)}, now={0: Span(7, 10)})  # 5 and 6 expire
    topics.with_inputs([7, 8]).write([(0, 4), (0, 5), (0, 7), (0, 8)])
    verdict = judge(topics)
    assert verdict.is_clean
    assert verdict.expired == 2


def test_inputs_whose_outcomes_expired_are_not_judged() -> None:
    verdict = judge(MemoryTopics().with_inputs(range(4)).write([(0, 2), (0, 3)], at=2))
    assert verdict.is_clean
    assert verdict.counts["not_judged"] == 2


# --- what a score says


@STRIPES
def test_score_of_another_transaction_than_its_inputs_is_a_fault(stripe: int) -> None:
    topics = five().write([(0, 0), Row((0, 1), transaction=2), Row((0, 2), transaction=1)])
    topics.write([(0, 3), (0, 4)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.WRONG_TRANSACTION: 2}
    assert verdict.offenders[0].source == Coordinates(0, 1)
    assert verdict.counts["transactions_compared"] == 3


def test_score_of_an_input_of_unknown_schema_is_counted_but_not_a_fault() -> None:
    topics = five().write([(0, i) for i in range(4)]).write([(0, 4)], OutcomeKind.DEAD_LETTER)
    topics.contents = {2: Content.UNKNOWN, 4: Content.UNKNOWN}
    verdict = judge(topics)
    assert verdict.is_clean
    assert (verdict.counts["inputs_unread"], verdict.counts["transactions_compared"]) == (1, 3)


@STRIPES
def test_score_that_contradicts_itself_is_a_fault(stripe: int) -> None:
    topics = five().write([(0, 0), Row((0, 1), marks=Mark.IMPLAUSIBLE), (0, 2), (0, 3), (0, 4)])
    verdict = judge(topics, stripe=stripe)
    assert faults(verdict) == {Fault.IMPLAUSIBLE: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 1)


def test_outcomes_that_arrive_after_their_stripe_are_counted_as_not_compared() -> None:
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
def test_outcome_in_another_partition_is_a_fault_but_counts(stripe: int, home: int) -> None:
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


def test_redriven_inputs_are_counted_and_a_second_redrive_is_a_fault() -> None:
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


def test_listed_offenders_are_limited_but_all_are_counted_and_each_fault_is_listed() -> None:
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


def test_digest_can_be_computed_independently_from_its_description() -> None:
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
