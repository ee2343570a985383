"""Small windows and a small program for tests of the ablation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.batch import build_batch
from stream_scorer.features.program import Program, parse_program
from tests.support.factories import make_transactions
from trainer.ablation.plan import AblationPlan
from trainer.ablation.results import Results
from trainer.ablation.run import Ablation
from trainer.ablation.variants import Variants, plan_variants
from trainer.ablation.windows import Window
from trainer.data.ingest import Part
from trainer.programs.chosen import ChosenProgram

SMALL = AblationPlan(seeds=2, trees=4, leaves=7, learning_rate=0.3)


def operation(op: str, group: str, columns: Sequence[str], more: str = "") -> str:
    """One operation as text."""
    listed = ", ".join(f'"{column}"' for column in columns)
    head = f'[[operation]]\nop = "{op}"\nversion = 1\ngroup = "{group}"\n'
    return f"{head}columns = [{listed}]\n{more}\n"


def make_program(*operations: str) -> Program:
    """A program of these operations."""
    return parse_program('format = 1\nname = "small/1"\ntitle = ""\n\n' + "".join(operations))


AMOUNT = operation("copy", "amount", ["TransactionAmt"])
COUNTS = operation("copy", "counts", ["C1"])
SHARES = operation("share", "shares", ["card1", "P_emaildomain"])
TEXTS = operation("code", "texts", ["card4", "P_emaildomain"], "min_count = 2")
PAIRS = operation("pair_share", "pairs", ["card1", "addr1"])
PROGRAM = make_program(AMOUNT, COUNTS, SHARES, TEXTS)


def candidate(*operations: str) -> ChosenProgram:
    """Operations as a candidate from a file."""
    return ChosenProgram(make_program(*operations), "candidate.toml", "0" * 64)


def make_part(n: int, seed: int) -> Part:
    """Rows whose label comes from the amount and, less, from C1."""
    rows = make_transactions(n, seed)
    noise = np.random.default_rng(seed).normal(0, 0.2, n)
    signal = np.array([row["TransactionAmt"] / 100 + row["C1"] / 20 for row in rows]) + noise
    return Part(build_batch(rows), (signal > 1.8).astype(np.int8))


@dataclass(slots=True)
class FakeWindows:
    """Windows made on the spot; ``loaded`` counts."""

    names: tuple[str, ...] = ("first", "second")
    all_seeds: tuple[int, ...] = (1,)
    unit: str = "window"
    shift: int = 0
    loaded: list[str] = field(default_factory=list)

    def seeds(self, name: str) -> tuple[int, ...]:  # noqa: ARG002
        """The same for all."""
        return self.all_seeds

    def facts(self) -> dict[str, Any]:
        """Nothing that changes."""
        return {"source": "fake"}

    def load(self, name: str) -> Window:
        """Other rows for each name."""
        self.loaded.append(name)
        seed = 10 * self.names.index(name) + self.shift
        train, test = make_part(200, seed + 1), make_part(120, seed + 2)
        facts = {"test_frauds": int(test.labels.sum()), "sha256": str(seed)}
        return Window(train, test, facts)


def make_ablation(
    source: FakeWindows | None = None,
    variants: Variants | None = None,
    plan: AblationPlan = SMALL,
    results: Results | None = None,
) -> Ablation:
    """An ablation of the small program."""
    source = source or FakeWindows()
    variants = variants or plan_variants(PROGRAM)
    results = results or Results({"data": source.facts(), **plan.basis()})
    return Ablation(source, variants, plan, results)
