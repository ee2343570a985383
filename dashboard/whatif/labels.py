"""Which label stands for which score."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from dashboard.whatif.rows import LabelledScore, LabelledScores, Origin, build_labelled

_VALUES: Final = {"FRAUD": True, "LEGITIMATE": False, "UNSURE": None}


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
    # A flag id is a text and a transaction id is a number, so one table holds both.
    standing: dict[str | int, StandingLabel] = {}
    unscored = 0
    for label in labels:
        if label.label not in _VALUES or label.origin not in Origin.__members__:
            continue
        key = label.transaction_id if label.flag_id is None else label.flag_id
        before = standing.get(key)
        if before is None or before.decided_at <= label.decided_at:
            standing[key] = label
        is_report = label.origin != Origin.ANALYST and label.label == "FRAUD"
        if is_report and label.decided_at >= since and label not in is_known:
            unscored += 1
    rows = []
    for flag in flags:
        found = (standing.get(flag.id), standing.get(flag.transaction_id))
        given = [label for label in found if label is not None]
        if given:
            rows.append(_row(flag, max(given, key=lambda label: label.decided_at)))
    return build_labelled(rows, unscored)


def _row(flag: FlagScore, label: StandingLabel) -> LabelledScore:
    return LabelledScore(
        flag.score, _VALUES[label.label], Origin(label.origin), flag.scored_at, flag.amount
    )
