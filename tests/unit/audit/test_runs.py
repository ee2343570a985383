"""Audits in stripes and in several runs: the verdict is that of one run over all records."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from stream_scorer.audit.ledger import Ledger
from stream_scorer.audit.records.columns import Coordinates, Mark, OutcomeKind
from stream_scorer.audit.run import plan_stripes
from stream_scorer.audit.state_file import dump_state
from stream_scorer.audit.verdict import Fault, Verdict
from stream_scorer.audit.versions import affected
from stream_scorer.errors import UsageError
from stream_scorer.kafka.spans import Span
from tests.support.audit.audit_kit import (
    MemoryTopics,
    Row,
    begin,
    faults,
    five,
    judge,
    new_auditor,
    reloaded,
    restored,
)

# --- memory and stripes


def test_stripes_combine_small_partitions_and_split_large_ones() -> None:
    ledgers = {p: Ledger(0, edge) for p, edge in enumerate([3, 4, 25, 0, 5])}
    planned = list(plan_stripes(ledgers, 10))
    assert planned == [{2: 10}, {2: 20}, {2: 25}, {0: 3, 1: 4, 3: 0}, {4: 5}]


def test_outcomes_are_read_no_further_than_the_stripe_needs() -> None:
    topics = MemoryTopics({0: Span(0, 1000)}, batch=10).with_inputs(range(1000))
    topics.write([(0, i) for i in range(1000)])
    auditor = new_auditor()
    run = begin(auditor, topics, stripe=100)
    positions: list[int] = []
    run.checkpoint = lambda: positions.append(auditor.state.logs[OutcomeKind.SCORE, 0].position)
    assert run.run().is_clean
    assert positions == list(range(100, 1001, 100))
    assert topics.reads == 2000


def test_progress_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    topics = five().write([(0, 0), (0, 1), Row(None), (0, 4)])
    run = begin(new_auditor(), topics, stripe=2)
    run.on_progress = lambda done, total: seen.append((done, total))
    run.run()
    assert seen[0] == (0, 24)
    assert seen[-1] == (24, 24)
    assert seen == sorted(seen)


# --- continuing from a state


def test_content_of_a_waiting_score_is_judged_with_its_input() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, 0), (0, 1)])
    topics.write([Row((0, 2), transaction=9), Row((0, 3), marks=Mark.IMPLAUSIBLE)])
    auditor = new_auditor(has_next_run=True)
    assert judge(topics, auditor=auditor, edges={0: 2, 1: 0}).is_clean
    verdict = judge(topics, auditor=reloaded(auditor))
    assert faults(verdict) == {Fault.WRONG_TRANSACTION: 1, Fault.IMPLAUSIBLE: 1}


def test_next_run_continues_and_reads_only_new_records() -> None:
    whole = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)])
    part = MemoryTopics({0: Span(0, 6), 1: Span(0, 0)})
    part.with_inputs(range(6)).write([(0, i) for i in range(6)])
    auditor = new_auditor(has_next_run=True)
    assert judge(part, auditor=auditor, stripe=4).is_clean
    auditor = reloaded(auditor)
    verdict = judge(whole, auditor=auditor, stripe=4)
    assert verdict.is_clean
    assert (verdict.inputs, verdict.scores, whole.reads) == (4, 4, 8)
    assert verdict.totals["inputs"] == 10
    assert verdict.digest == judge(whole).digest
    assert affected(verdict.intervals, "v1")[0]["count"] == 10


def test_outcomes_beyond_the_edge_wait_for_the_next_run() -> None:
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(8)])
    auditor = new_auditor(has_next_run=True)
    verdict = judge(topics, auditor=auditor, edges={0: 5, 1: 0})
    assert verdict.is_clean
    assert verdict.counts["waiting"] == 3
    auditor = reloaded(auditor)
    topics.write([(0, 8), (0, 9)])
    verdict = judge(topics, auditor=auditor)
    assert verdict.is_clean
    assert verdict.inputs == 5
    assert verdict.digest == judge(topics).digest


def test_duplicate_of_a_waiting_outcome_is_found_by_the_next_run() -> None:
    topics = MemoryTopics().with_inputs(range(4)).write([(0, i) for i in (0, 1, 2, 3)])
    auditor = new_auditor(has_next_run=True)
    judge(topics, auditor=auditor, edges={0: 2, 1: 0})
    auditor = reloaded(auditor)
    topics.write([(0, 3)])
    assert faults(judge(topics, auditor=auditor)) == {Fault.DUPLICATE: 1}


def test_duplicate_of_an_outcome_of_an_earlier_run_is_found() -> None:
    topics = five().write([(0, i) for i in range(5)])
    auditor = new_auditor(has_next_run=True)
    judge(topics, auditor=auditor)
    auditor = reloaded(auditor)
    topics.write([(0, 2)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, auditor=auditor)
    assert faults(verdict) == {Fault.DUPLICATE: 1}
    assert verdict.offenders[0].source == Coordinates(0, 2)


def test_missing_outcome_is_reported_once_and_its_late_arrival_counted() -> None:
    topics = five().write([(0, i) for i in (0, 1, 3, 4)])
    auditor = new_auditor(has_next_run=True)
    assert faults(judge(topics, auditor=auditor)) == {Fault.MISSING: 1}
    auditor = reloaded(auditor)
    assert judge(topics, auditor=auditor).is_clean
    topics.write([(0, 2)], OutcomeKind.DEAD_LETTER)
    verdict = judge(topics, auditor=reloaded(auditor))
    assert verdict.is_clean
    assert verdict.counts["settled_late"] == 1
    assert verdict.totals[Fault.MISSING] == 1


def test_dead_letter_redriven_again_in_a_later_run_is_found() -> None:
    topics = five().write([(0, i) for i in range(5)])
    topics.inputs_at[0] |= {1: (0, 7), 4: (0, 7)}
    auditor = new_auditor(has_next_run=True)
    assert judge(topics, auditor=auditor, edges={0: 3, 1: 0}).is_clean
    verdict = judge(topics, auditor=reloaded(auditor))
    assert faults(verdict) == {Fault.REDRIVEN_TWICE: 1}
    assert verdict.offenders[0].source == Coordinates(0, 4)


def test_inputs_that_expired_between_two_runs_are_counted() -> None:
    topics = five().write([(0, i) for i in range(5)])
    auditor = new_auditor(has_next_run=True)
    judge(topics, auditor=auditor, edges={0: 5, 1: 0})
    later = MemoryTopics({0: Span(8, 10), 1: Span(0, 0)}).with_inputs([8, 9])
    later.write([(0, i) for i in range(10)])
    verdict = judge(later, auditor=reloaded(auditor))
    assert verdict.is_clean
    assert verdict.counts["unaudited"] == 3
    assert verdict.expired == 3


@pytest.mark.parametrize("after", range(6))
def test_interrupted_run_continues_from_its_last_checkpoint_with_its_results(
    after: int,
) -> None:
    topics = MemoryTopics(batch=2).with_inputs(range(10)).with_inputs(range(6), 1)
    topics.write([(0, i) for i in (0, 0, 1, 2, 4, 5, 7, 8, 9, 6)] + [(1, 3)])
    topics.write([(1, i) for i in (0, 1, 2, 4)] + [(0, 3), (0, 77)], partition=1)
    topics.write([(1, 5)], OutcomeKind.DEAD_LETTER, 1)
    expected = judge(topics, stripe=3)
    auditor = new_auditor(has_next_run=True)
    run = begin(auditor, topics, stripe=3)
    kept = [dump_state(auditor.state)]

    def checkpoint() -> None:
        kept.append(dump_state(auditor.state))
        if len(kept) > after:
            raise KeyboardInterrupt

    run.checkpoint = checkpoint
    with pytest.raises(KeyboardInterrupt):
        run.run()
    verdict = judge(topics, auditor=restored(kept[-1]), stripe=3)
    assert faults(verdict) == faults(expected)
    assert verdict.offenders == expected.offenders
    assert (counts(verdict), verdict.partitions) == (counts(expected), expected.partitions)
    assert (verdict.digest, verdict.times) == (expected.digest, expected.times)


def counts(verdict: Verdict) -> dict[str, int]:
    """The counters that do not depend on where a stripe ends."""
    depends = ("keys_not_compared", "transactions_compared")
    return {name: n for name, n in verdict.counts.items() if name not in depends}


# --- against counting by hand


def random_topics(rng: random.Random) -> tuple[MemoryTopics, dict[Fault, int]]:
    """Topics with random faults, and the number of each fault."""
    topics = MemoryTopics({p: Span(0, 40) for p in range(3)}, batch=rng.randrange(1, 9))
    planted: Counter[Fault] = Counter()
    for partition in range(3):
        present = sorted(rng.sample(range(40), rng.randrange(20, 40)))
        gaps = sorted(set(range(40)) - set(present))
        topics.with_inputs(present, partition)
        scores: list[tuple[int, int]] = []
        dead_letters: list[tuple[int, int]] = []
        for offset in present:
            to = dead_letters if rng.random() < 0.2 else scores
            if rng.random() < 0.05:
                planted[Fault.MISSING] += 1
                continue
            to.append((partition, offset))
            if rng.random() < 0.05:
                to.append((partition, offset))
                planted[Fault.DUPLICATE] += 1
        if gaps and rng.random() < 0.5:
            dead_letters.insert(rng.randrange(len(dead_letters) + 1), (partition, rng.choice(gaps)))
            planted[Fault.ORPHAN] += 1
        if rng.random() < 0.5:
            dead_letters.insert(0, (partition, 10**6))
            planted[Fault.ORPHAN] += 1
        topics.write(dead_letters, OutcomeKind.DEAD_LETTER, partition)
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
def test_faults_are_the_same_when_the_audit_is_split_into_several_runs(seed: int) -> None:
    rng = random.Random(seed)
    topics, planted = random_topics(rng)
    auditor = new_auditor(has_next_run=True)
    total: Counter[Fault] = Counter()
    for edge in [*sorted(rng.sample(range(41), 3)), 40]:
        verdict = judge(topics, auditor=auditor, edges=dict.fromkeys(range(3), edge), stripe=7)
        total.update(faults(verdict))
        auditor = reloaded(auditor)
    assert dict(total) == {f: n for f, n in planted.items() if n}


def test_outcomes_without_inputs_are_judged_early_instead_of_accumulating(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.audit.run._MOST_UNRESOLVED", 10)
    topics = MemoryTopics().write([(0, 100 + i) for i in range(200)])
    auditor = new_auditor()
    run = begin(auditor, topics)
    run._resolve_at = 10
    most = 0

    def look(_done: int, _total: int) -> None:
        nonlocal most
        most = max(most, auditor.unresolved)

    run.on_progress = look
    assert faults(run.run()) == {Fault.ORPHAN: 200}
    assert most <= 10 + topics.batch


def test_too_many_outcomes_of_uncommitted_inputs_suggest_a_wrong_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.audit.run._MOST_WAITING", 5)
    monkeypatch.setattr("stream_scorer.audit.run._MOST_UNRESOLVED", 1)
    topics = MemoryTopics().with_inputs(range(10)).write([(0, i) for i in range(10)])
    run = begin(new_auditor(has_next_run=True), topics, edges={0: 0, 1: 0})
    run._resolve_at = 3
    with pytest.raises(UsageError, match="KAFKA_GROUP_ID"):
        run.run()


def test_too_many_outcomes_in_wrong_partitions_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.audit.auditor.MOST_STRAYS", 3)
    topics = MemoryTopics().with_inputs(range(5), 1).write([(1, i) for i in range(5)])
    run = begin(new_auditor(), topics, stripe=5)
    run._resolve_at = 4
    verdict = run.run()
    assert verdict.faults[Fault.WRONG_PARTITION] == 5
    assert verdict.counts["unplaced"] == 4
    assert verdict.faults[Fault.MISSING] == 4
