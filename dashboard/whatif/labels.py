"""Which label stands for which score."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from dashboard.whatif.rows import LabelledScore, LabelledScores, build_labelled

_VALUES: Final = {"FRAUD": True, "LEGITIMATE": False, "UNSURE": None}
_ANALYST: Final = "ANALYST"


_Key = tuple[str | int, bool]
"""Flag id or transaction id, and whether the label was given from outside."""


class FlagScore(NamedTuple):
    """What is known of one flagged transaction. ``scored_at`` is in epoch milliseconds."""

    id: str
    transaction_id: int
    scored_at: int
    score: float
    amount: float | None


@dataclass(frozen=True, slots=True)
class StandingLabel:
    """The last label that one kind of source gave, as it stands.

    Attributes:
        flag_id: the flagged transaction it is about. None if it only names a transaction id, as
            chargebacks do.
        transaction_id: the transaction; an id may have been used twice.
        label: FRAUD, LEGITIMATE or UNSURE.
        origin: ANALYST, CHARGEBACK or REVERSAL.
        decided_at: epoch milliseconds.
    """

    flag_id: str | None
    transaction_id: int
    label: str
    origin: str
    decided_at: int


class LabelSource(Protocol):
    """Knows all labels as they stand."""

    def standing_labels(self) -> Sequence[StandingLabel]:
        """The labels of analysts, without withdrawn ones, and those of others."""
        ...


def match_labels(
    flags: Iterable[FlagScore],
    labels: Iterable[StandingLabel],
    is_known: Container[StandingLabel],
    since: int,
) -> LabelledScores:
    """The flagged transactions of one version and window that have a label.

    The later decision stands, whoever gave it.

    Args:
        flags: those of the version and window.
        labels: of everything.
        is_known: labels about a flagged transaction of any version and time.
        since: the start of the window, in epoch milliseconds. A fraud that was reported before it
            cannot be of the window.
    """
    standing: dict[_Key, StandingLabel] = {}
    unscored = 0
    for label in labels:
        if label.label not in _VALUES:
            continue
        is_report = label.origin != _ANALYST
        target = label.transaction_id if label.flag_id is None else label.flag_id
        before = standing.get((target, is_report))
        if before is None or before.decided_at <= label.decided_at:
            standing[target, is_report] = label
        is_fraud = is_report and label.label == "FRAUD"
        if is_fraud and label.decided_at >= since and label not in is_known:
            unscored += 1
    rows = []
    for flag in flags:
        targets = (flag.id, flag.transaction_id)
        reviews, reports = (
            [standing[key, is_report] for key in targets if (key, is_report) in standing]
            for is_report in (False, True)
        )
        if reviews or reports:
            rows.append(_row(flag, reviews, reports))
    return build_labelled(rows, unscored)


def _row(
    flag: FlagScore, reviews: Sequence[StandingLabel], reports: Sequence[StandingLabel]
) -> LabelledScore:
    last = max((*reviews, *reports), key=lambda label: label.decided_at)
    return LabelledScore(flag.score, _VALUES[last.label], bool(reviews), bool(reports), flag.amount)
