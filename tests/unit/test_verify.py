"""The audit behind ``stream-scorer verify``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from schemas.records import UndecodableRecord, encode_record
from schemas.resolver import LocalSchemas
from stream_scorer.audit import Audit
from stream_scorer.findings import Coordinates, Fault, Kind, Outcomes, Span, Verdict
from stream_scorer.outcome_reader import ScoreReader, Source, key_hash

KEY = key_hash(b"13926")
SPANS = {0: Span(0, 10), 1: Span(0, 10)}


def outcomes(
    sources: Sequence[tuple[int, int]],
    *,
    kind: Kind = Kind.SCORE,
    partition: int = 0,
    first_offset: int = 0,
    keys: Sequence[int] | None = None,
) -> Outcomes:
    """Outcomes written one after the other, of inputs given as (partition, offset)."""
    table = np.array(sources, np.int64).reshape(-1, 2)
    return Outcomes(
        kind,
        partition,
        np.arange(first_offset, first_offset + len(sources), dtype=np.int64),
        table[:, 0],
        table[:, 1],
        np.array(keys or [KEY] * len(sources), np.uint32),
    )


def audit_of(offsets: Sequence[int] = range(5), limit: int = 20) -> Audit:
    """An audit with inputs at these offsets of partition 0."""
    audit = Audit(SPANS, limit)
    audit.add_inputs(0, np.array(offsets, np.int64), np.full(len(offsets), KEY, np.uint32))
    return audit


def faults(verdict: Verdict) -> dict[Fault, int]:
    return {fault: count for fault, count in verdict.faults.items() if count}


def test_one_outcome_for_each_input_in_order_is_clean() -> None:
    audit = audit_of()
    audit.add_outcomes(outcomes([(0, 0), (0, 1), (0, 3)]))
    audit.add_outcomes(outcomes([(0, 2), (0, 4)], kind=Kind.DEAD_LETTER))
    verdict = audit.finish(SPANS)
    assert verdict.is_clean
    assert (verdict.inputs, verdict.scores, verdict.dead_letters) == (5, 3, 2)
    assert (verdict.partitions[0].first, verdict.partitions[0].last) == (0, 4)


def test_missing_outcome_is_named() -> None:
    audit = audit_of()
    audit.add_outcomes(outcomes([(0, 0), (0, 1), (0, 3), (0, 4)]))
    verdict = audit.finish(SPANS)
    assert faults(verdict) == {Fault.MISSING: 1}
    assert verdict.offenders[0].source == Coordinates(0, 2)
    assert verdict.partitions[0].missing == 1


@pytest.mark.parametrize("split", [False, True])
def test_second_outcome_is_a_duplicate_within_and_across_batches(split: bool) -> None:
    audit = audit_of()
    if split:
        audit.add_outcomes(outcomes([(0, 0), (0, 1), (0, 2)]))
        audit.add_outcomes(outcomes([(0, 2), (0, 3), (0, 4)], first_offset=3))
    else:
        audit.add_outcomes(outcomes([(0, 0), (0, 1), (0, 2), (0, 2), (0, 3), (0, 4)]))
    verdict = audit.finish(SPANS)
    assert faults(verdict) == {Fault.DUPLICATE: 1}
    assert verdict.offenders[0].outcome == Coordinates(0, 3)
    assert verdict.offenders[0].source == Coordinates(0, 2)


def test_score_and_dead_letter_of_one_input_are_a_duplicate() -> None:
    audit = audit_of([0])
    audit.add_outcomes(outcomes([(0, 0)]))
    audit.add_outcomes(outcomes([(0, 0)], kind=Kind.DEAD_LETTER))
    assert faults(audit.finish(SPANS)) == {Fault.DUPLICATE: 1}


def test_hundreds_of_outcomes_of_one_input_never_look_like_none() -> None:
    audit = audit_of([0])
    for start in range(0, 600, 200):
        audit.add_outcomes(outcomes([(0, 0)] * 200, first_offset=start))
    assert faults(audit.finish(SPANS)) == {Fault.DUPLICATE: 599}


@pytest.mark.parametrize("split", [False, True])
def test_score_after_that_of_a_later_input_is_out_of_order(split: bool) -> None:
    audit = audit_of([0, 1, 2])
    if split:
        audit.add_outcomes(outcomes([(0, 0), (0, 2)]))
        audit.add_outcomes(outcomes([(0, 1)], first_offset=2))
    else:
        audit.add_outcomes(outcomes([(0, 0), (0, 2), (0, 1)]))
    verdict = audit.finish(SPANS)
    assert faults(verdict) == {Fault.OUT_OF_ORDER: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


def test_gaps_of_txn_markers_and_aborted_records_need_no_outcome() -> None:
    audit = audit_of([0, 3, 7])
    audit.add_outcomes(outcomes([(0, 0), (0, 3), (0, 7)]))
    assert audit.finish(SPANS).is_clean


def test_outcome_of_a_gap_is_an_orphan() -> None:
    audit = audit_of([0, 3])
    audit.add_outcomes(outcomes([(0, 0), (0, 1), (0, 3)]))
    verdict = audit.finish(SPANS)
    assert faults(verdict) == {Fault.ORPHAN: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


@pytest.mark.parametrize("source", [(7, 0), (-1, -1)])
def test_outcome_of_no_partition_of_the_input_is_an_orphan(source: tuple[int, int]) -> None:
    audit = audit_of([0])
    audit.add_outcomes(outcomes([(0, 0), source]))
    assert faults(audit.finish(SPANS)) == {Fault.ORPHAN: 1}


def test_outcome_beyond_the_end_of_the_input_is_an_orphan() -> None:
    audit = audit_of([0])
    audit.add_outcomes(outcomes([(0, 0), (0, 99)]))
    assert faults(audit.finish(SPANS)) == {Fault.ORPHAN: 1}


def test_outcome_of_an_input_that_came_later_is_counted_and_no_fault() -> None:
    audit = audit_of([0])
    audit.add_outcomes(outcomes([(0, 0), (0, 12)]))
    verdict = audit.finish({0: Span(0, 15), 1: Span(0, 10)})
    assert verdict.is_clean
    assert verdict.later == 1


def test_outcome_of_an_input_that_retention_removed_is_counted_and_no_fault() -> None:
    audit = Audit({0: Span(5, 10)})
    audit.add_inputs(0, np.array([7, 8]), np.full(2, KEY, np.uint32))
    audit.add_outcomes(outcomes([(0, 4), (0, 5), (0, 7), (0, 8)]))
    verdict = audit.finish({0: Span(7, 10)})  # 5 went while the audit read
    assert verdict.is_clean
    assert verdict.expired == 2


def test_inputs_whose_outcomes_expired_are_not_judged() -> None:
    audit = audit_of([0, 1, 2, 3])
    audit.add_outcomes(outcomes([(0, 2), (0, 3)], first_offset=2))
    verdict = audit.finish(SPANS, {Kind.SCORE: {0: Span(2, 4)}})
    assert verdict.is_clean
    assert verdict.partitions[0].not_judged == 2


def test_outcome_in_another_partition_is_a_fault_and_still_counts() -> None:
    audit = audit_of([0])
    audit.add_outcomes(outcomes([(0, 0)], partition=1))
    assert faults(audit.finish(SPANS)) == {Fault.WRONG_PARTITION: 1}


def test_outcome_with_another_key_is_a_fault() -> None:
    audit = audit_of([0, 1])
    audit.add_outcomes(outcomes([(0, 0), (0, 1)], keys=[KEY, key_hash(None)]))
    verdict = audit.finish(SPANS)
    assert faults(verdict) == {Fault.WRONG_KEY: 1}
    assert verdict.offenders[0].source == Coordinates(0, 1)


def test_unreadable_outcome_is_a_fault() -> None:
    audit = audit_of([])
    audit.add_unreadable(Kind.SCORE, 1, 7)
    assert faults(audit.finish(SPANS)) == {Fault.UNREADABLE: 1}


def test_only_so_many_offenders_are_named_but_all_are_counted() -> None:
    verdict = audit_of(range(10), limit=3).finish(SPANS)
    assert verdict.faults[Fault.MISSING] == 10
    assert len(verdict.offenders) == 3


def test_digest_depends_on_the_outcomes_but_not_on_how_they_were_batched() -> None:
    def digest(*parts: Outcomes) -> str:
        audit = audit_of()
        for part in parts:
            audit.add_outcomes(part)
        return audit.finish(SPANS).digest

    letter = outcomes([(0, 4)], kind=Kind.DEAD_LETTER)
    whole = digest(outcomes([(0, 0), (0, 1), (0, 2)]), letter)
    assert whole == digest(letter, outcomes([(0, 0)]), outcomes([(0, 1), (0, 2)], first_offset=1))
    assert whole != digest(outcomes([(0, 0), (0, 1), (0, 3)]), letter)


def test_empty_key_is_not_the_missing_key() -> None:
    assert key_hash(b"") != key_hash(None)


def score_value(offset: int) -> bytes:
    return encode_record(
        "fraud_score",
        {
            "transaction_id": 1,
            "score": 0.5,
            "decision": "APPROVE",
            "is_flagged": False,
            "review_threshold": 0.6,
            "block_threshold": 0.9,
            "model_version": "v1",
            "scored_at": 0,
            "event_time": None,
            "reasons": [],
            "source": {"topic": "transactions", "partition": 3, "offset": offset},
            "context": None,
        },
    )


def test_source_of_a_score_is_read_again_and_again() -> None:
    reader = ScoreReader(LocalSchemas("fraud_score"))
    found = [reader.source(score_value(offset)) for offset in (5, 2**40)]
    assert found == [Source("transactions", 3, 5), Source("transactions", 3, 2**40)]


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{}", b"\x00\x00\x00\x00\x07abc", b"\xc3\x01" + b"x" * 8, score_value(5)[:-3]],
)
def test_what_is_no_score_is_refused(value: bytes | None) -> None:
    with pytest.raises(UndecodableRecord):
        ScoreReader(LocalSchemas("fraud_score")).source(value)
