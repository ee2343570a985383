"""A version in a report, and what is said about its data wherever it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainer.report.numbers import percent
from trainer.report.view import View

LEAST_SYNTHETIC: Final = 0.01
"""Below this share of the rows, ids in the generator's range may be a coincidence."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One version: its name, its metadata, and the style of its lines."""

    name: str
    facts: View
    style: str = "line-a"

    @property
    def test(self) -> View:
        """The measures of the evaluated rows."""
        return self.facts.at("metrics", "test")


def subjects_of(metadata: Any, against: Any = None) -> list[Subject]:
    """The version of the report, and the one it is compared with."""
    found = [Subject(View(metadata).text("version") or "(no version)", View(metadata))]
    if against is not None:
        name = View(against).text("version") or "(no version)"
        found.append(Subject(name, View(against), "line-b other"))
    return found


def synthetic_warning(subjects: Sequence[Subject]) -> str | None:
    """What to say if a version was trained or evaluated on synthetic rows."""
    reasons = [found for subject in subjects if (found := _synthetic(subject)) is not None]
    if not reasons:
        return None
    return f"{'; '.join(reasons)}. These figures do not predict the quality on real transactions."


def _synthetic(subject: Subject) -> str | None:
    source = subject.facts.text("training", "source") or ""
    if source.startswith("synthetic:"):
        return f"{subject.name} was trained and evaluated on synthetic data"
    rows, of = subject.facts.count("synthetic", "rows"), subject.facts.count("synthetic", "of")
    if rows and of and rows >= of * LEAST_SYNTHETIC:
        return (
            f"{percent(min(rows / of, 1))} of the rows on which {subject.name} was evaluated have "
            "a TransactionID of the synthetic generator"
        )
    return None


def is_comparable(subjects: Sequence[Subject]) -> bool:
    """Whether all versions were evaluated on the same rows, as far as the metadata shows."""
    keys = {
        (
            str(subject.facts.at("training", "sha256").value)[:400],
            subject.test.count("rows"),
            subject.test.count("frauds"),
            str(subject.facts.points("plots", "time", "rows", width=1)[:3]),
        )
        for subject in subjects
    }
    return len(keys) == 1
