"""The result of a comparison. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stream_scorer.drift.comparison import MOST_SHOWN, Shift, read_shift

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How far live rows are from the reference of a version.

    Attributes:
        version: the model version that they are compared with.
        since: inputs from this time on, epoch milliseconds.
        until: inputs before this time, epoch milliseconds.
        computed_at: epoch milliseconds.
        rows: the inputs that were compared.
        offsets: the offsets of the range; more than were read if it was sampled.
        features: all compared features, the ones that moved most first.
        scores: the published scores of the version; None if they could not be compared.
        refused: feature, or ``score`` → why it could not be compared.
        problems: what makes the result doubtful, a sentence each.
    """

    version: str
    since: int
    until: int
    computed_at: int
    rows: int
    offsets: int
    features: tuple[Shift, ...] = ()
    scores: Shift | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "format": FORMAT,
            "version": self.version,
            "since": self.since,
            "until": self.until,
            "computed_at": self.computed_at,
            "rows": self.rows,
            "offsets": self.offsets,
            "features": [one.as_json() for one in self.features],
            "scores": None if self.scores is None else self.scores.as_json(),
            "not_compared": dict(self.refused),
            "problems": list(self.problems),
        }

    @property
    def most_moved(self) -> tuple[Shift, ...]:
        """The features that moved most."""
        return self.features[:MOST_SHOWN]


def read_report(facts: Mapping[str, Any]) -> DriftReport:
    """The inverse of :meth:`DriftReport.as_json`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError: it is none.
    """
    if facts["format"] != FORMAT:
        raise ValueError("the report has another format")
    scores = facts["scores"]
    return DriftReport(
        str(facts["version"]),
        int(facts["since"]),
        int(facts["until"]),
        int(facts["computed_at"]),
        int(facts["rows"]),
        int(facts["offsets"]),
        features=tuple(read_shift(one) for one in facts["features"]),
        scores=None if scores is None else read_shift(scores),
        refused={str(name): str(reason) for name, reason in facts["not_compared"].items()},
        problems=tuple(map(str, facts["problems"])),
    )
