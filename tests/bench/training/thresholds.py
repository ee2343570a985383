"""``python -m tests.bench.training.thresholds``: the flagged share beside the promised one.

A version is trained on the first rows of a synthetic source, and scores the rows that follow. Each
line is one seed: the budgets, and for each the share of later rows that is flagged ÷ the budget.
The rows are synthetic and the share of fraud changes over time, so one seed says little.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from tests.bench.quality import EarlierRows
from trainer.data.ingest import ingest
from trainer.data.rows import join_rows, some_rows
from trainer.data.source import SyntheticSource
from trainer.evaluation.evaluate import score_all
from trainer.fitting.decisions import DecisionPlan
from trainer.fitting.plan import Plan
from trainer.pipeline import run_training
from trainer.stages import Stages

BUDGETS: Final = (0.02, 0.01, 0.005)
SEEDS: Final = (601, 602, 603, 604)


def flagged(rows: int, later: int, seed: int, plan: Plan, budget: float) -> float:
    """The share of later rows that is flagged ÷ the budget."""
    source = SyntheticSource(rows + later, seed)
    plan = replace(plan, decisions=DecisionPlan(review_budget=budget))
    stages = Stages(Console(file=io.StringIO()))
    bundle = run_training(EarlierRows(source, rows), plan, stages).bundle
    part = join_rows(ingest(source, lambda _: None))
    batch = some_rows(part, slice(rows, len(part))).batch
    return float(np.mean(score_all(batch, bundle) >= bundle.thresholds.review)) / budget


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4_800)
    parser.add_argument("--later", type=int, default=4_800)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--no-refit", action="store_true", help="serve the last fold's model")
    given = parser.parse_args(argv)
    plan = Plan(is_refit=not given.no_refit)
    table: list[NDArray[np.float64]] = []
    for seed in given.seeds:
        shares = [flagged(given.rows, given.later, seed, plan, budget) for budget in BUDGETS]
        table.append(np.array(shares))
        sys.stdout.write(f"seed {seed}: {_line(table[-1])}\n")
        sys.stdout.flush()
    sys.stdout.write(f"mean:    {_line(np.mean(table, axis=0))}\n")
    sys.stdout.write(f"largest: {_line(np.max(table, axis=0))}\n")
    return 0


def _line(shares: NDArray[np.float64]) -> str:
    return ", ".join(
        f"{budget:.1%}: {share:.2f}" for budget, share in zip(BUDGETS, shares, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
