"""Judges which inputs of a partition lack an outcome, and which were lost. Pure."""

from __future__ import annotations

from stream_scorer.audit.outcome_log import OutcomeLog
from stream_scorer.audit.records.columns import OutcomeKind
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.verdict import Fault, PartitionRange


def judge_missing(state: AuditState, partition: int, *, is_compacted: bool) -> PartitionRange:
    """Count the inputs of one partition that have no outcome, unless it may have expired."""
    ledger = state.ledgers[partition]
    logs = {kind: state.logs.get((kind, partition), OutcomeLog()) for kind in OutcomeKind}
    starts = {kind: log.judged_from(ledger.edge) for kind, log in logs.items()}
    judged_from = max(
        min(start, state.expiry.judged_from(kind, partition, ledger.edge))
        for kind, start in starts.items()
    )
    missing = ledger.count_missing(judged_from)
    not_judged = ledger.count_missing(0) - missing
    removed_early = missing - ledger.count_missing(max(judged_from, *starts.values()))
    state.tally.count("removed_early", removed_early)
    room = state.tally.room(Fault.MISSING)
    state.tally.add_missing(partition, missing, ledger.missing(judged_from, room))
    state.tally.count("not_judged", not_judged)
    # Compaction removes inputs too, and of these nobody can say whether they were scored.
    lost = 0 if is_compacted else state.lost.count(partition, max(starts.values()))
    state.tally.count("inputs_lost", lost)
    first, last, count = state.ranges.get(partition, (None, None, 0))
    return PartitionRange(
        partition=partition,
        first=first,
        last=last,
        inputs=count,
        scores=logs[OutcomeKind.SCORE].count,
        dead_letters=logs[OutcomeKind.DEAD_LETTER].count,
        missing=missing,
        not_judged=not_judged,
        inputs_lost=lost,
        next_input=ledger.head,
    )
