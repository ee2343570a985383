"""A candidate for publication, and what every way to one has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.batch import HistoryColumns
from stream_scorer.features.program import Program
from stream_scorer.model.bundle import Bundle, Draft
from trainer.data.ingest import Part, ingest
from trainer.data.rows import join_rows
from trainer.data.source import SyntheticSource, TrainingSource
from trainer.evaluation.champion import Rival, budget_of, compare_scores
from trainer.evaluation.gate import GateVerdict
from trainer.evaluation.latency import Contender, Latency, measure_latency
from trainer.fitting.plan import Plan
from trainer.history.rows import CardHistory, compute_history, with_history
from trainer.history.seed import Seed
from trainer.rival import Paired
from trainer.stages import Stages


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained, measured and judged model, ready to publish.

    ``draft.facts`` becomes part of the metadata. ``seed`` are the card histories to publish with
    it, if any.
    """

    draft: Draft
    bundle: Bundle
    verdict: GateVerdict
    metrics: Mapping[str, Any]
    rows: int
    trees: int
    seed: Seed | None = None


FindCandidate = Callable[[TrainingSource, Plan, Stages, Bundle | None, str | None], Candidate]
"""Trains or imports a model and judges it on rows of the source.

The last two arguments are the champion and the version to beat, even if it could not be loaded.
"""


@dataclass(frozen=True, slots=True)
class SourceRows:
    """All labelled rows of a source in the order of time, and their card histories.

    Attributes:
        rows: without card history.
        facts: the source's, for the metadata.
        histories: by the fingerprint of their spec.
    """

    rows: Part
    facts: dict[str, Any]
    histories: Mapping[str, CardHistory]

    @property
    def columns(self) -> dict[str, HistoryColumns]:
        """History spec's fingerprint → its features of all rows."""
        return {name: history.columns for name, history in self.histories.items()}

    def history(self, program: Program) -> CardHistory | None:
        """The history that a program needs; None if it needs none."""
        return None if program.history is None else self.histories[program.history.fingerprint]

    def seed(self, program: Program) -> Seed | None:
        """The card histories to publish with a program; None if there are none."""
        history = self.history(program)
        return None if history is None else history.seed

    def rows_for(self, program: Program) -> Part:
        """The rows with the history that a program needs."""
        return with_history(self.rows, program, self.columns)

    def step_us(self, program: Program) -> float:
        """Microseconds a row that a program's history takes in the scorer."""
        history = self.history(program)
        return 0.0 if history is None else history.step_us


def read_source(
    source: TrainingSource,
    stages: Stages,
    programs: Iterable[Program] = (),
    seeded: Program | None = None,
) -> SourceRows:
    """All rows in the order of time, with the card histories that these programs need.

    That of the program ``seeded`` has a seed.

    Raises:
        UsageError: the rows cannot be used, or the seed is larger than scorers accept.
    """
    unit = "rows" if isinstance(source, SyntheticSource) else "bytes"
    specs = {p.history.fingerprint: p.history for p in programs if p.history is not None}
    with stages.stage("ingest", source.size(), unit) as advance:
        ingested = ingest(source, advance)
        if not specs:
            return SourceRows(join_rows(ingested), ingested.facts, {})
    histories = {}
    for name, spec in specs.items():
        with stages.stage("history", ingested.distinct, "rows") as advance:
            has_seed = seeded is not None and seeded.history == spec
            histories[name] = compute_history(ingested, spec, advance, has_seed=has_seed)
    with stages.stage("ingest"):
        return SourceRows(join_rows(ingested), ingested.facts, histories)


def time_models(
    read: SourceRows, rows: slice, candidate: Bundle, champion: Bundle | None
) -> Latency:
    """How long both models take on the same rows, each with the card history that it needs."""

    def contender(bundle: Bundle) -> Contender:
        program = bundle.features.program
        batch = read.rows_for(program).batch.take(rows)
        return Contender(bundle, batch, read.step_us(program))

    return measure_latency(contender(candidate), contender(champion) if champion else None)


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
