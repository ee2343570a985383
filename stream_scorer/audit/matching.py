"""Counts what is wrong with outcomes, by themselves and compared with their inputs. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_scorer.audit.ledger import Ledger
from stream_scorer.audit.records.columns import Mark, Outcomes
from stream_scorer.audit.tally import AuditTally
from stream_scorer.audit.verdict import Fault

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
    tally: AuditTally, ledger: Ledger, outcomes: Outcomes, *, is_newer: bool
) -> Outcomes | None:
    """Match outcomes with the inputs of one partition, and count the faults.

    Args:
        tally: counts them.
        ledger: the inputs.
        outcomes: outcomes of these inputs.
        is_newer: none of them is older than its input.

    Returns:
        The outcomes whose input does not exist; None if there are none.
    """
    found = ledger.match(outcomes, is_newer=is_newer)
    for name, fault in _MATCHED.items():
        tally.add_faults(fault, outcomes, getattr(found, name))
    for name, counter in _COUNTED.items():
        tally.count(counter, int(np.count_nonzero(getattr(found, name))))
    earlier = outcomes.source_offsets < ledger.run_start
    if earlier.any():
        is_first = earlier & ~(found.absent | found.older | found.duplicate)
        tally.count("settled_late", np.count_nonzero(is_first))
    return outcomes.take(found.absent) if found.absent.any() else None
