"""Counts what is wrong with outcomes, by themselves and compared with their inputs. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.audit.ledger import Matches
from stream_scorer.audit.recompute.recomputer import NO_INPUT
from stream_scorer.audit.recompute.stated import StatedScores
from stream_scorer.audit.records.columns import Mark, Outcomes
from stream_scorer.audit.state import AuditState
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.verdict import Fault
from stream_scorer.kafka.spans import Spans

_LATE: Final = "the score came after its inputs had been recomputed"
_NO_RESULTS: Final = "the score was read by an earlier run without --recompute"

_MARKED: Final = {
    Mark.IMPLAUSIBLE: Fault.IMPLAUSIBLE,
    Mark.TRAILING: Fault.MALFORMED,
    Mark.WRONG_VERSION: Fault.WRONG_VERSION,
    Mark.OTHER_THRESHOLDS: Fault.OTHER_THRESHOLDS,
    Mark.UNEXPLAINED: Fault.UNEXPLAINED,
}

_MATCHED: Final = {
    "duplicate": Fault.DUPLICATE,
    "wrong_key": Fault.WRONG_KEY,
    "wrong_transaction": Fault.WRONG_TRANSACTION,
    "wrong_value": Fault.WRONG_VALUE,
    "unscorable": Fault.UNSCORABLE,
    "wrong_rejection": Fault.WRONG_REJECTION,
}

_COUNTED: Final = {
    "older": "older",
    "compared": "transactions_compared",
    "undecodable": "inputs_unread",
    "late": "keys_not_compared",
}


def count_marks(tally: AuditTally, outcomes: Outcomes) -> None:
    """Count the faults that outcomes have by themselves."""
    if not outcomes.marks.any():
        return
    for mark, fault in _MARKED.items():
        tally.add_faults(fault, outcomes, outcomes.have(mark))


def match_outcomes(
    state: AuditState, partition: int, outcomes: Outcomes, *, is_newer: bool
) -> Outcomes | None:
    """Match outcomes with the inputs of one partition, and count the faults.

    Args:
        state: has the inputs, counts the faults, and keeps what is to be recomputed.
        partition: the input partition.
        outcomes: outcomes of its inputs.
        is_newer: none of them is older than its input.

    Returns:
        The outcomes whose input does not exist; None if there are none.
    """
    tally, ledger = state.tally, state.ledgers[partition]
    found = ledger.match(outcomes, is_newer=is_newer)
    for name, fault in _MATCHED.items():
        tally.add_faults(fault, outcomes, getattr(found, name))
    for name, counter in _COUNTED.items():
        tally.count(counter, int(np.count_nonzero(getattr(found, name))))
    if state.stated is not None:
        _keep_stated(state, state.stated, partition, outcomes, found)
    earlier = outcomes.source_offsets < ledger.run_start
    if earlier.any():
        is_first = earlier & ~(found.absent | found.older | found.duplicate)
        tally.count("settled_late", np.count_nonzero(is_first))
    return outcomes.take(found.absent) if found.absent.any() else None


def _keep_stated(
    state: AuditState, stated: StatedScores, partition: int, outcomes: Outcomes, found: Matches
) -> None:
    """Keep what is to be recomputed once the stripe's outcomes were read."""
    stated.add(partition, outcomes, ~(found.absent | found.older | found.late))
    unjudged = {NO_INPUT: found.absent, _LATE: found.late & ~found.absent}
    if outcomes.results is None:
        unjudged[_NO_RESULTS] = ~(found.absent | found.older | found.late)
    for reason, rows in unjudged.items():
        leave_unjudged(state, outcomes, rows, reason)


def leave_unjudged(
    state: AuditState, outcomes: Outcomes, rows: NDArray[np.bool_], reason: str
) -> None:
    """Count those of ``rows`` that were to be recomputed and cannot be."""
    if state.stated is not None and rows.any():
        number = int(np.count_nonzero(rows & state.stated.choose(outcomes)))
        state.leave_unjudged({reason: number} if number else {})


def take_some(outcomes: Outcomes, rows: NDArray[np.bool_]) -> Outcomes:
    """``take``, without a copy in the usual case that all rows are taken."""
    return outcomes if rows.all() else outcomes.take(rows)


def lows_of(spans: Spans, outcomes: Outcomes) -> NDArray[np.int64]:
    """The first offset in the partition of each outcome's input."""
    return np.array([spans[p].low for p in outcomes.source_partitions.tolist()], np.int64)


def highs_of(spans: Spans, outcomes: Outcomes) -> NDArray[np.int64]:
    """The end of the partition of each outcome's input."""
    return np.array([spans[p].high for p in outcomes.source_partitions.tolist()], np.int64)
