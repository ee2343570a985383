"""``fraud-trainer ablate``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stream_scorer.runtime.text import printable
from trainer.ablation.plan import AblationPlan
from trainer.commands.console import DONE, Subparsers, finish
from trainer.commands.features import add_program_flags, feature_plan, split_names
from trainer.cpus import available_cpus, prepare_openmp
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from stream_scorer.features.program import Program
    from trainer.ablation.run import Ablation
    from trainer.ablation.windows import WindowSource

DESCRIPTION = """\
Leave out each group of a feature program, fit the same small model with and without it, and compare
their average precision on later rows. One seed proves nothing: there, a difference below 0.015 is
noise. Raw columns are measured beside the program.
"""


def add_ablate(commands: Subparsers) -> None:
    """``fraud-trainer ablate``."""
    plan = AblationPlan()
    parser: argparse.ArgumentParser = commands.add_parser(
        "ablate", help="measure what each group of features is worth", description=DESCRIPTION
    )
    add_program_flags(parser)
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--transactions", metavar="FILE", help="transactions: a path, file:/// or s3://"
    )
    given.add_argument("--synthetic", type=int, metavar="N", help="N synthetic rows for each seed")
    parser.add_argument("--identity", metavar="FILE", help="identities of these transactions")
    parser.add_argument(
        "--add", action="append", default=[], metavar="FILE",
        help="candidates: judge the groups of this program too, each added to the program alone",
    )  # fmt: skip
    parser.add_argument(
        "--groups", action="append", default=[], metavar="G1,G2",
        help="judge only these groups; history:NAME is a key space of card history",
    )  # fmt: skip
    for flag, default, meaning in (
        ("--seeds", plan.seeds, "synthetic: sets of rows; else: models for each window in time"),
        ("--seed-from", plan.seed_from, "first seed; do not use seeds that you report"),
        ("--folds", plan.folds, "windows in time, if the rows are not synthetic"),
        ("--gap-days", plan.gap_days, "days left out before a test window"),
        ("--trees", plan.trees, "trees of each model; there is no early stopping"),
        ("--leaves", plan.leaves, "maximum number of leaves per tree"),
        ("--learning-rate", plan.learning_rate, "of each model"),
    ):
        parser.add_argument(
            flag, type=type(default), default=default,
            metavar="N" if isinstance(default, int) else "X", help=f"{meaning} (default {default})",
        )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="fits at a time (default: the container's CPUs)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="write the result as JSON; finished fits in this file are not repeated",
    )  # fmt: skip
    finish(parser, _ablate)


def make_plan(arguments: argparse.Namespace) -> AblationPlan:
    """The plan from the flags.

    Raises:
        WrongUsageError: a value is invalid.
    """
    plan = AblationPlan(
        seeds=arguments.seeds,
        seed_from=arguments.seed_from,
        folds=arguments.folds,
        gap_days=arguments.gap_days,
        trees=arguments.trees,
        leaves=arguments.leaves,
        learning_rate=arguments.learning_rate,
        jobs=available_cpus() if arguments.jobs is None else arguments.jobs,
    )
    plan.check()
    return plan


def _ablate(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    prepare_openmp(threads=1)  # for each of the fits beside each other
    from trainer.ablation.report import build_report, describe_report
    from trainer.ablation.results import Results, read_results, write_report
    from trainer.ablation.run import Ablation
    from trainer.ablation.variants import plan_variants
    from trainer.programs.chosen import choose_program

    plan = make_plan(arguments)
    selected = feature_plan(arguments)
    chosen = choose_program(selected.program, selected.without)
    candidates = [choose_program(name) for name in arguments.add]
    groups = split_names(arguments.groups, "--groups")
    variants = plan_variants(chosen.program, candidates, groups)
    source = _make_source(arguments, settings, plan, variants.whole.program)
    basis = {"data": source.facts(), **plan.basis()}
    path: Path | None = arguments.output
    results = Results(basis) if path is None else read_results(path, basis)
    ablation = Ablation(source, variants, plan, results, path)

    def save() -> None:
        if path is not None:
            write_report(path, build_report(ablation, chosen, candidates))

    save()  # a path that cannot be written is an error before the first fit
    _run(ablation, save)
    save()
    report = build_report(ablation, chosen, candidates)
    print(json.dumps(report) if arguments.json else "\n".join(describe_report(report)))
    return DONE


def _make_source(
    arguments: argparse.Namespace, settings: TrainerSettings, plan: AblationPlan, program: Program
) -> WindowSource:
    """The rows, with the card history that a program needs."""
    from trainer.ablation.windows import FileWindows, SyntheticWindows
    from trainer.data.source import CsvSource

    if arguments.synthetic is not None:
        return SyntheticWindows(arguments.synthetic, plan.all_seeds, plan.gap_days, program)
    transactions = arguments.transactions or settings.train_transactions_uri
    if transactions is None:
        raise WrongUsageError(
            "no data: use --transactions FILE or --synthetic N, or set TRAIN_TRANSACTIONS_URI"
        )
    is_set = arguments.transactions is None
    identity = arguments.identity or (settings.train_identity_uri if is_set else None)
    rows = CsvSource(transactions, identity, settings)
    return FileWindows(rows, transactions, plan.folds, plan.all_seeds, plan.gap_days, program)


def _run(ablation: Ablation, save: Callable[[], None]) -> None:
    """Run the missing fits, and save after each one."""
    from rich.console import Console

    from trainer.ablation.progress import FitProgress

    total, missing = len(list(ablation.fits())), len(ablation.missing())
    with FitProgress(total, total - missing, Console(stderr=True)) as progress:

        def finished() -> None:
            save()
            progress.advance()

        try:
            ablation.run(finished)
        except KeyboardInterrupt:
            save()
            kept = f"{total - len(ablation.missing())} of {total} fits are finished"
            where = ablation.path
            hint = "nothing is kept without --output" if where is None else (
                f"they are kept in {printable(str(where))}, and the same command goes on"
            )  # fmt: skip
            print(f"fraud-trainer: interrupted: {kept}; {hint}", file=sys.stderr)
            raise
