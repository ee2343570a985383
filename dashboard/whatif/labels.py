"""Which label stands for which score."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final, NamedTuple

from dashboard.whatif.rows import DAY_MS, LabelledScore, LabelledScores, build_labelled

_VALUES: Final = {"FRAUD": True, "LEGITIMATE": False, "UNSURE": None}
_ANALYST: Final = "ANALYST"


class FlagScore(NamedTuple):
    """What is known of one flagged transaction, or of a sampled one that was not flagged.

    ``scored_at`` is in epoch milliseconds.
    """

    id: str
    transaction_id: int
    scored_at: int
    score: float
    amount: float | None
    is_sampled: bool = False


class StandingLabel(NamedTuple):
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
            cannot be of the window, unless the stream replays old transactions, where reports are
            older than the scores that they are about.
    """
    reviews: dict[str | int, StandingLabel] = {}
    reports: dict[str | int, StandingLabel] = {}
    unscored: list[int] = []  # when they were reported
    for label in labels:
        if label.label not in _VALUES:
            continue
        is_report = label.origin != _ANALYST
        # A flag id is a text and a transaction id is a number, so one table holds both.
        target = label.transaction_id if label.flag_id is None else label.flag_id
        standing = reports if is_report else reviews
        before = standing.get(target)
        if before is None or before.decided_at <= label.decided_at:
            standing[target] = label
        if is_report and label.label == "FRAUD" and label not in is_known:
            unscored.append(label.decided_at)
    rows = []
    is_replay = False
    for flag in flags:
        review = _later(reviews.get(flag.id), reviews.get(flag.transaction_id))
        report = _later(reports.get(flag.id), reports.get(flag.transaction_id))
        is_replay |= report is not None and report.decided_at < flag.scored_at - DAY_MS
        last = _later(review, report)
        if last is not None:
            value, is_reviewed, is_reported = _VALUES[last.label], bool(review), bool(report)
            rows.append(
                LabelledScore(
                    flag.score, value, is_reviewed, is_reported, flag.amount,
                    flag.is_sampled and is_reviewed,
                )
            )  # fmt: skip
    return build_labelled(rows, sum(is_replay or at >= since for at in unscored))


def _later(one: StandingLabel | None, other: StandingLabel | None) -> StandingLabel | None:
    if one is None or other is None:
        return one or other
    return one if one.decided_at > other.decided_at else other
