"""Compares the check sums beside the group's committed offsets with recomputed ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_scorer.state.history_source import HistorySource, HistoryUnknown
from stream_scorer.state.marks import SUM


@dataclass(frozen=True, slots=True)
class MarkCheck:
    """What came of comparing the marks.

    Attributes:
        compared: number of check sums that were compared.
        problems: a sentence for each one that differs.
        unjudged: by partition, why its check sum could not be compared.
    """

    compared: int = 0
    problems: tuple[str, ...] = ()
    unjudged: Mapping[int, str] = field(default_factory=dict)


def check_marks(
    marks: Mapping[int, tuple[int, Mapping[str, str]]], histories: HistorySource
) -> MarkCheck:
    """Compare each mark that has a check sum.

    Args:
        marks: by partition, the committed offset and the fields of its mark.
        histories: computes the check sums again.
    """
    problems, unjudged, compared = [], {}, 0
    for partition, (offset, mark) in sorted(marks.items()):
        if (stated := mark.get(SUM)) is None:  # no history was in use
            continue
        found = histories.check_sum(partition, offset, mark)
        if isinstance(found, HistoryUnknown):
            unjudged[partition] = found.reason
            continue
        compared += 1
        if found != stated:
            problems.append(
                f"the history of partition {partition} before offset {offset} has check sum "
                f"{found}, and the scorers committed {stated}: scores after it are made with "
                "another history"
            )
    return MarkCheck(compared, tuple(problems), unjudged)
