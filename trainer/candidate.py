"""A candidate for publication, and what every way to one has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stream_scorer.model.bundle import Bundle, Draft
from trainer.data.ingest import Part, ingest
from trainer.data.rows import join_rows
from trainer.data.source import SyntheticSource, TrainingSource
from trainer.evaluation.champion import Rival, budget_of, compare_scores
from trainer.evaluation.gate import GateVerdict
from trainer.fitting.plan import Plan
from trainer.rival import Paired
from trainer.stages import Stages


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained, measured and judged model, ready to publish.

    ``draft.facts`` becomes part of the metadata.
    """

    draft: Draft
    bundle: Bundle
    verdict: GateVerdict
    metrics: Mapping[str, Any]
    rows: int
    trees: int


FindCandidate = Callable[[TrainingSource, Plan, Stages, Bundle | None, str | None], Candidate]
"""Trains or imports a model and judges it on rows of the source.

The last two arguments are the champion and the version to beat, even if it could not be loaded.
"""


def read_source(source: TrainingSource, stages: Stages) -> tuple[Part, dict[str, Any]]:
    """All rows in the order of time, and the source's facts."""
    unit = "rows" if isinstance(source, SyntheticSource) else "bytes"
    with stages.stage("ingest", source.size(), unit) as advance:
        ingested = ingest(source, advance)
        return join_rows(ingested), ingested.facts


def compare_paired(
    paired: Paired | None,
    notes: tuple[str, ...],
    champion: Bundle | None,
    measures: Mapping[str, Any],
    plan: Plan,
) -> Rival:
    """The champion's result on rows that neither it nor the candidate learned from.

    ``measures`` are the candidate's on all test rows.
    """
    if paired is None or champion is None:
        return Rival(notes=notes)
    return compare_scores(
        paired.rows,
        paired.candidate,
        paired.champion,
        champion.version,
        budget=budget_of(plan, measures),
        seed=plan.model.seed,
        notes=notes,
    )


def lost_columns(facts: Mapping[str, Any], champion: Bundle | None) -> list[str]:
    """Columns that the champion's training rows had and these rows lack.

    ``facts`` are those of the rows' source. Sources and versions that do not say which columns
    they lack, such as synthetic rows and versions of earlier releases, lose none.
    """
    training = {} if champion is None else champion.metadata.get("training")
    before = training.get("missing_columns") if isinstance(training, Mapping) else None
    now = facts.get("missing_columns")
    if champion is None or not isinstance(before, list) or not isinstance(now, list):
        return []
    used = set(champion.features.columns)
    return [column for column in now if column not in before and column in used]
