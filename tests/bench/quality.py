"""``python -m tests.bench.quality``: what the trainer's models are worth, as one table.

Every figure compares two ways on the same rows of the same run. The first 80 % of the rows in time
are for training, the last 20 % for the figure. Rows are synthetic, so the figures compare ways of
training and say nothing about quality on real transactions.

The seeds of the report are used for nothing else: the default program and parameters were chosen
on other seeds, which ``docs/model.md`` names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from schemas.batch import HistoryColumns
from schemas.csv.codec import CsvChunk
from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from stream_scorer.model.forest.predictor import build_predictor
from trainer.data.files import Advance
from trainer.data.ingest import ingest
from trainer.data.labels import Labelling
from trainer.data.rows import Part, join_rows, some_rows
from trainer.data.source import SyntheticSource
from trainer.evaluation.calibration import measure_calibration
from trainer.evaluation.evaluate import score_all
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.fit import fit_model, make_dataset
from trainer.fitting.plan import DEFAULT_PROGRAM, FeaturePlan, ModelPlan, Plan
from trainer.history.burn_in import first_learned_row
from trainer.history.rows import compute_history, with_history
from trainer.pipeline import run_training
from trainer.programs.chosen import choose_program
from trainer.stages import Stages

REPORTED_SEEDS: Final = (401, 402, 403, 404, 405)
ROWS: Final = 60_000
TRAIN_SHARE: Final = 0.8
PLAIN: Final = ModelPlan(
    trees=150, leaves=31, learning_rate=0.1, min_rows_in_leaf=20, feature_share=1.0, row_share=1.0,
    l2=0.0, seed=1,
)  # fmt: skip
"""LightGBM's own defaults, but for the number of trees."""

Floats = NDArray[np.float64]


@dataclass(slots=True)
class EarlierRows:
    """The first rows of a synthetic source, as a source."""

    source: SyntheticSource
    rows: int

    @property
    def labelling(self) -> Labelling:
        """The source's labels."""
        return self.source.labelling

    def size(self) -> int | None:
        """The number of rows."""
        return self.rows

    def chunks(self, advance: Advance) -> Iterator[CsvChunk]:
        """The rows up to the limit."""
        left = self.rows
        for chunk in self.source.chunks(advance):
            n = min(left, len(chunk.batch))
            if n:
                assert chunk.labels is not None
                yield replace(chunk, batch=chunk.batch.take(slice(0, n)), labels=chunk.labels[:n])
            left -= n

    def facts(self) -> dict[str, Any]:
        """The source's facts."""
        return self.source.facts()


@dataclass(frozen=True, slots=True)
class DataSet:
    """All rows of one data set, with the card histories that programs need.

    Test rows see the training rows of their cards, as transactions in a stream do.
    """

    rows: Part
    cut: int
    histories: dict[str, HistoryColumns]

    def train(self, program: Program) -> Part:
        """The rows to learn from: the earlier ones, without the burn-in of a program's history."""
        rows = with_history(self.rows, program, self.histories)
        first = first_learned_row(self.rows.batch.times[: self.cut], program)
        return some_rows(rows, slice(first, self.cut))

    def test(self, program: Program) -> Part:
        """The later rows."""
        rows = with_history(self.rows, program, self.histories)
        return some_rows(rows, slice(self.cut, len(rows)))


def make_data_set(seed: int, rows: int, programs: Sequence[Program]) -> DataSet:
    """Generate the rows and compute the histories."""
    read = ingest(SyntheticSource(rows, seed), lambda _: None)
    specs = {p.history.fingerprint: p.history for p in programs if p.history is not None}
    histories = {
        name: compute_history(read, spec, lambda _: None).columns for name, spec in specs.items()
    }
    return DataSet(join_rows(read), int(rows * TRAIN_SHARE), histories)


def measure_seed(seed: int, rows: int, plan: Plan, programs: Sequence[Program]) -> dict[str, float]:
    """All figures of one data set."""
    data = make_data_set(seed, rows, programs)
    raw = load_builtin("raw/1")
    labels = data.test(raw).labels
    found: dict[str, float] = {"frauds": float(labels.sum())}
    for program in programs:
        found[f"plain {program.name}"] = _plain(data, program, PLAIN)
    for name, one in (("trainer", plan), ("no refit", replace(plan, is_refit=False))):
        source = EarlierRows(SyntheticSource(rows, seed), data.cut)
        candidate = run_training(source, one, Stages())
        test = data.test(candidate.bundle.features.program)
        scores = score_all(test.batch, candidate.bundle)
        found[name] = average_precision(rank(scores, test.labels))
        if name == "trainer":
            raw_scores = score_all(test.batch, replace(candidate.bundle, calibration=None))
            for when, values in (("before", raw_scores), ("after", scores)):
                facts = measure_calibration(values, test.labels)
                found[f"calibration {when}"] = facts["expected_calibration_error"]
            found["trees"] = float(candidate.trees)
            same = replace(plan.model, trees=candidate.trees)
            found["same parameters"] = _plain(data, raw, same)
    return found


def _plain(rows: DataSet, program: Program, plan: ModelPlan) -> float:
    """Average precision on the test rows of one LightGBM trained on all training rows."""
    train, test = rows.train(program), rows.test(program)
    features, matrix = FeatureSet.fit_transform(train.batch, program)
    data = make_dataset(matrix, train.labels, features.names, plan)
    del matrix
    fitted = fit_model(data, None, plan, lambda _: None)
    predictor = build_predictor(fitted.model_text)
    scores = predictor.raw(features.transform(test.batch))
    return average_precision(rank(scores, test.labels))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval by Student's t over the data sets."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def table(found: dict[int, dict[str, float]], default: Program) -> list[str]:
    """The report's lines."""
    by = {key: np.array([one[key] for one in found.values()]) for key in next(iter(found.values()))}
    raw = by["plain raw/1"]
    rows: list[tuple[str, NDArray[np.float64], str]] = [
        ("raw columns, plain LightGBM: AP", raw, ""),
        (
            f"{default.name} ({len(default.names)} features) - raw columns, same LightGBM: AP",
            by[f"plain {default.name}"] - raw,
            ">= -.005",
        ),
        (
            "ieee-cis/1 (454 features) - raw columns, same LightGBM: AP",
            by["plain ieee-cis/1"] - raw,
            "",
        ),
        (
            "the trainer (folds, refit) - plain LightGBM on raw columns: AP",
            by["trainer"] - raw,
            ">= 0",
        ),
        (
            "the trainer - raw columns with the same parameters and trees: AP",
            by["trainer"] - by["same parameters"],
            "",
        ),
        ("the trainer with --no-refit - the trainer: AP", by["no refit"] - by["trainer"], ""),
        ("calibration error before the map", by["calibration before"], ""),
        ("calibration error after the map", by["calibration after"], ""),
        (
            "calibration error, after / before",
            by["calibration after"] / by["calibration before"],
            "<= 1/3",
        ),
        ("trees of the served model", by["trees"], ""),
    ]
    lines = [
        "| figure | mean | 95 % interval | each data set | wanted |",
        "| --- | ---: | --- | --- | --- |",
    ]
    for name, values, wanted in rows:
        digits = 0 if values.max() > 10 else 4
        mean, low, high = (f"{value:.{digits}f}" for value in interval(values.tolist()))
        each = ", ".join(f"{value:.{digits}f}" for value in values)
        lines.append(f"| {name} | {mean} | {low} to {high} | {each} | {wanted} |")
    ratio = by["calibration after"].mean() / by["calibration before"].mean()
    lines.append(f"| mean calibration error after / mean before | {ratio:.4f} | | | <= 1/3 |")
    return lines


def main() -> int:
    """Print the table; the last line of standard output is JSON with every data set's figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.quality", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(REPORTED_SEEDS))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument(
        "--features", default=DEFAULT_PROGRAM, help="the program of the training runs"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    plan = Plan(features=FeaturePlan(args.features))
    plan = replace(plan, model=replace(plan.model, threads=args.threads))
    default = choose_program(args.features).program
    programs = [load_builtin("raw/1"), default, load_builtin("ieee-cis/1")]
    found: dict[int, dict[str, float]] = {}
    for number, seed in enumerate(args.seeds, 1):
        began = time.monotonic()
        found[seed] = measure_seed(seed, args.rows, plan, programs)
        took = time.monotonic() - began
        left = took * (len(args.seeds) - number)
        sys.stderr.write(
            f"data set {number} of {len(args.seeds)} (seed {seed}): {took:.0f} s, "
            f"about {left:.0f} s left\n"
        )
    sys.stdout.write("\n".join(table(found, default)) + "\n")
    report = {"rows": args.rows, "figures": found}
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
