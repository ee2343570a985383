"""Whether the challenger is better, from intervals of two differences. Pure.

The rule, on the labels with the better source (``matured``, else ``sampled``):

- **worse** if the interval of the difference in average precision, or that of the difference in
  recall at the champion's budget, is entirely below 0.
- **better** if the interval of the difference in average precision is entirely above 0.
- **no worse** if both intervals are entirely above ``-MARGIN``.
- **cannot tell yet** otherwise.

How many more labels would decide: the width of an interval shrinks with the square root of the
number of labels, so that a width ``w`` becomes ``v`` with ``(w / v)^2`` times as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from stream_scorer.quality.comparison import MIN_FRAUD_CARDS, Comparison, Difference
from stream_scorer.quality.estimates import INTERVAL_MIN_ROWS
from stream_scorer.quality.sources import LabelSource

MARGIN: Final = 0.01
"""A loss of average precision or recall that is accepted as no loss."""

_MOST_MORE: Final = 10_000_000


class Verdict(StrEnum):
    """What the labels say."""

    BETTER = "better"
    NO_WORSE = "no worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell yet"


EXIT_CODES: Final[Mapping[Verdict, int]] = {
    Verdict.BETTER: 0,
    Verdict.CANNOT_TELL: 3,
    Verdict.NO_WORSE: 4,
    Verdict.WORSE: 5,
}
"""A command's exit code by verdict; 1 and 2 say that there is none, as with any command."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict and what it rests on.

    Attributes:
        verdict: what the labels say.
        source: of the labels; None: there are none to judge by.
        reason: one sentence.
        more_labels: about how many more would decide; None where that cannot be said.
    """

    verdict: Verdict
    source: LabelSource | None
    reason: str
    more_labels: int | None = None

    def describe(self) -> str:
        """The verdict as words: ``cannot tell yet (about 120 more labels)``."""
        more = f" (about {self.more_labels:,} more labels)" if self.more_labels else ""
        return f"{self.verdict}{more}"


def judge(
    compared: Mapping[LabelSource, Comparison | str], labels: Mapping[LabelSource, int]
) -> Judgement:
    """The verdict on the best source there is.

    Args:
        compared: by source, the comparison or why there is none.
        labels: by source, how many labels there are.
    """
    for source in (LabelSource.MATURED, LabelSource.SAMPLED):
        found = compared.get(source)
        if isinstance(found, Comparison) and found.average_precision.interval is not None:
            return _judge(source, found, labels[source])
    for source in (LabelSource.MATURED, LabelSource.SAMPLED):
        found = compared.get(source)
        if isinstance(found, Comparison):
            more = max(INTERVAL_MIN_ROWS - found.frauds, MIN_FRAUD_CARDS - found.fraud_cards, 1)
            reason = (
                f"{found.frauds} frauds of {found.fraud_cards} cards among {source} labels are too "
                f"few: an interval needs {INTERVAL_MIN_ROWS} of {MIN_FRAUD_CARDS} cards"
            )
            return Judgement(Verdict.CANNOT_TELL, source, reason, more)
    reasons = "; ".join(f"{s}: {text}" for s, text in compared.items() if isinstance(text, str))
    return Judgement(Verdict.CANNOT_TELL, None, reasons or "there are no labels")


def _judge(source: LabelSource, found: Comparison, labels: int) -> Judgement:
    precision, recall = found.average_precision, found.recall_at_budget
    for name, difference in (("average precision", precision), ("recall", recall)):
        if difference.interval is not None and difference.interval[1] < 0:
            return Judgement(Verdict.WORSE, source, f"its {name} is lower: {_shown(difference)}")
    lows = [-1.0 if d.interval is None else d.interval[0] for d in (precision, recall)]
    if lows[0] > 0:
        reason = f"its average precision is higher: {_shown(precision)}"
        return Judgement(Verdict.BETTER, source, reason)
    if min(lows) > -MARGIN:
        reason = f"neither average precision nor recall is lower by {MARGIN:g} or more"
        return Judgement(Verdict.NO_WORSE, source, reason)
    reason = (
        f"the labels allow for better and worse: average precision {_shown(precision)}, recall "
        f"{_shown(recall)}"
    )
    undecided = [d for d, low in zip((precision, recall), lows, strict=True) if low <= -MARGIN]
    more = max(_more(difference, labels) for difference in undecided)
    return Judgement(Verdict.CANNOT_TELL, source, reason, more or None)


def _width(difference: Difference) -> float:
    return 0.0 if difference.interval is None else difference.interval[1] - difference.interval[0]


def _more(difference: Difference, labels: int) -> int:
    """How many more labels would bring an end of the interval across 0 or the margin."""
    if difference.interval is None:
        return 0
    half, at = _width(difference) / 2, difference.difference
    # Above the margin it is enough to show that; below, that it is worse.
    needed = at + MARGIN if at > -MARGIN else -at
    if needed <= 0 or half <= needed:
        return 0
    return min(_MOST_MORE, max(1, round(labels * ((half / needed) ** 2 - 1))))


def _shown(difference: Difference) -> str:
    interval = difference.interval
    ends = "no interval" if interval is None else f"95 %: {interval[0]:+.4f} to {interval[1]:+.4f}"
    return f"{difference.difference:+.4f} ({ends})"


def next_step(judgement: Judgement, champion: str, challenger: str) -> str:
    """What a person should do now, in one sentence."""
    if judgement.verdict is Verdict.BETTER:
        return f"promote it with fraud-trainer models promote {challenger} --if-better"
    if judgement.verdict is Verdict.WORSE:
        return (
            f"keep {champion}, and end the shadow scoring with fraud-trainer models challenge "
            "--none"
        )
    if judgement.verdict is Verdict.NO_WORSE:
        return (
            f"keep {champion}, unless there is another reason for {challenger}: fraud-trainer "
            f"models promote {challenger} promotes it without this comparison"
        )
    more = judgement.more_labels
    waited_for = f"about {more:,} more labels" if more else "more labels"
    return (
        f"keep {champion} until {waited_for} are in, then run fraud-trainer models compare "
        f"{champion} {challenger} again"
    )


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The judgement as JSON."""
    return {
        "verdict": str(judgement.verdict),
        "source": None if judgement.source is None else str(judgement.source),
        "reason": judgement.reason,
        "more_labels": judgement.more_labels,
    }
