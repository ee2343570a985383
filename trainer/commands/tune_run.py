"""``fraud-trainer tune``: the whole search, from the flags to the parameters to train with."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from stream_scorer.errors import UsageError
from stream_scorer.features.program import Program
from trainer.candidate import read_source
from trainer.commands.features import feature_plan
from trainer.commands.train_run import make_source
from trainer.cpus import available_cpus
from trainer.fitting.plan import Plan, WrongUsageError
from trainer.programs.chosen import choose_program
from trainer.settings import TrainerSettings
from trainer.stages import Stages
from trainer.tuning.cost import CostMeter
from trainer.tuning.folds import prepare_folds
from trainer.tuning.front import fastest_within, front
from trainer.tuning.objective import evaluate, precision_noise
from trainer.tuning.page import write_page
from trainer.tuning.search import Search, Step
from trainer.tuning.space import train_flags
from trainer.tuning.study import Study, Trial

log = logging.getLogger(__name__)

_SHOWN: Final = 10
_MAX_FOLDS: Final = 10
_MAX_TRIALS: Final = 100_000
_MINUTE_SECONDS: Final = 60


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The default plan, with the flags' limits; checks all flags.

    Raises:
        WrongUsageError: a flag is out of range; the message names it.
    """
    rules = (
        (
            "--trials",
            arguments.trials,
            1 <= arguments.trials <= _MAX_TRIALS,
            f"from 1 to {_MAX_TRIALS}",
        ),
        (
            "--folds",
            arguments.folds,
            1 <= arguments.folds <= _MAX_FOLDS,
            f"from 1 to {_MAX_FOLDS}",
        ),
        (
            "--minutes",
            arguments.minutes,
            arguments.minutes is None or arguments.minutes > 0,
            "more than 0",
        ),
    )
    for flag, value, is_good, wanted in rules:
        if not is_good:
            raise WrongUsageError(f"{flag} {value} must be {wanted}")
    if arguments.output is not None and not arguments.frontier:
        raise WrongUsageError("--output is for the page of --frontier")
    plan = Plan(features=feature_plan(arguments))
    threads = arguments.threads or available_cpus()
    model = replace(
        plan.model, trees=arguments.trees, seed=arguments.seed, learner=arguments.learner,
        threads=threads,
    )  # fmt: skip
    plan = replace(plan, model=model)
    plan.check()
    return plan


def tune(arguments: argparse.Namespace, settings: TrainerSettings) -> dict[str, Any]:
    """Search; returns the value that ``--json`` prints.

    Raises:
        ScorerError: the search could not begin; the message is for the user.
    """
    started = time.monotonic()
    plan = make_plan(arguments)
    program = choose_program(plan.features.program, plan.features.without).program
    source = make_source(arguments, settings)
    stages = Stages()
    read = read_source(source, stages, (program,))
    rows = read.rows_for(program)
    study = Study(
        arguments.storage,
        study_facts(read.facts, rows.labels, plan, program, arguments.folds),
        plan.model,
        frontier=arguments.frontier,
    )
    with stages.stage("windows", arguments.folds) as advance:
        folds = prepare_folds(rows, plan, program, arguments.folds, advance)
    meter = None
    if arguments.frontier:
        last = folds[-1]
        meter = CostMeter(last.batch, last.features, study.reference_microseconds)
        study.reference_microseconds = meter.reference_microseconds
    noise = precision_noise(int(folds[0].labels.sum()))
    search = Search(study, partial(evaluate, folds, meter), noise)
    if arguments.minutes is not None:
        search.deadline_seconds = started + arguments.minutes * _MINUTE_SECONDS
    was_interrupted = _run(search, arguments.trials)
    if study.default is None:
        if was_interrupted:
            raise KeyboardInterrupt
        raise UsageError("no trial ran to its end: give it more time, fewer --folds or --trees")
    frauds = sum(int(fold.labels.sum()) for fold in folds)
    result = summarise(study, read.facts["source"], frauds, arguments)
    return result | {
        "interrupted": was_interrupted,
        "seconds": round(time.monotonic() - started, 3),
    }


def study_facts(
    source: Mapping[str, Any],
    labels: NDArray[np.int8],
    plan: Plan,
    program: Program,
    folds: int,
) -> dict[str, Any]:
    """What trials depend on: a study goes on only with the same."""
    # Labels may come from elsewhere than the files, so they count on their own.
    files = json.dumps(source["sha256"], sort_keys=True).encode()
    digest = hashlib.sha256(files + labels.tobytes()).hexdigest()
    return {
        "source": source["source"],
        "rows": len(labels),
        "digest": digest,
        "features": hashlib.sha256(json.dumps(program.plain()).encode()).hexdigest(),
        "folds": folds,
        "learner": plan.model.learner,
        "seed": plan.model.seed,
    }


def _run(search: Search, trials: int) -> bool:
    """Show the search's progress; returns whether it was interrupted."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("trials", total=trials, state="")
        trees = 0

        def advance() -> None:
            nonlocal trees
            trees += 1
            progress.update(task, state=f"{state}, {trees} trees")

        state, seconds = "first trial", 0.0
        try:
            for step in search.run(trials, advance):
                trees, seconds = 0, seconds + step.seconds
                left = seconds / step.done * (trials - step.done)
                if search.deadline_seconds is not None:
                    left = min(left, max(0.0, search.deadline_seconds - search.clock()))
                state = _describe_step(step, search.best, trials, left)
                progress.update(task, completed=step.done, state=state)
                if not console.is_terminal:
                    log.info("%s", state)
        except KeyboardInterrupt:
            return True
    return False


def _describe_step(step: Step, best: Trial | None, trials: int, left_seconds: float) -> str:
    last = "pruned"
    if step.trial is not None:
        out = step.trial.outcome
        last = f"average precision {out.average_precision:.4f}"
        last += "" if out.microseconds is None else f", {out.microseconds:.1f} µs a row"
    text = f"trial {step.done} of {trials}: {last}"
    if best is not None:
        text += f"; best {best.outcome.average_precision:.4f} (trial {best.number + 1})"
    minutes, seconds = divmod(round(left_seconds), _MINUTE_SECONDS)
    return f"{text}; {minutes}:{seconds:02d} left"


def summarise(
    study: Study, source: str, frauds: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """The result of all trials of a study, which has at least one; draws the front.

    ``frauds`` is the number in the windows' later rows together.

    Raises:
        UsageError: the page cannot be written.
    """
    trials, features = study.trials, feature_plan(arguments)
    default = trials[0]
    ranked = sorted(trials, key=lambda t: (-t.outcome.average_precision, t.number))
    result: dict[str, Any] = {
        "learner": default.plan.learner,
        "frauds": frauds,
        "noise": precision_noise(frauds),
        "finished": study.finished,
        "pruned": study.finished - len(trials),
        "storage": None if arguments.storage is None else str(arguments.storage),
        "default": _figures(default),
        "best": _figures(ranked[0]),
        "trials": [_figures(trial) for trial in ranked],
        "flags": train_flags(ranked[0].plan, features),
    }
    if arguments.frontier:
        path = arguments.output or Path("frontier.html")
        write_page(trials, default, source, path, features)
        fast = fastest_within(trials, result["noise"])
        result["front"] = [_figures(trial) for trial in front(trials)]
        result |= {"fastest": _figures(fast), "fastest_flags": train_flags(fast.plan, features)}
        result["page"] = str(path)
    return result


def _figures(trial: Trial) -> dict[str, Any]:
    out = trial.outcome
    return {
        "trial": trial.number + 1,
        "average_precision": out.average_precision,
        "microseconds": out.microseconds,
        "trees": out.trees,
        "leaves": out.leaves,
        "columns": out.columns,
    }


def describe_search(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines that describe a search and its result."""
    yield f"{result['finished']} trials, {result['pruned']} of them pruned after their first window"
    is_frontier = "front" in result
    shown = result["front"] if is_frontier else result["trials"][:_SHOWN]
    yield from _table(shown, result["default"], is_frontier=is_frontier)
    best, default = result["best"], result["default"]
    gain = best["average_precision"] - default["average_precision"]
    if best["trial"] == default["trial"]:
        yield "no trial is better than the default plan"
    else:
        yield (
            f"the best trial is {gain:+.4f} above the default plan on the same rows; the best of "
            "many looks better than it is, so compare both on other rows"
        )
    yield (
        f"the standard error of these figures is about {result['noise']:.3f} "
        f"({result['frauds']:,} frauds)"
    )
    if is_frontier:
        yield f"wrote {result['page']}"
        fastest = result["fastest"]["trial"]
        if fastest == best["trial"]:
            yield "no trial within one standard error of the most precise one is faster"
        else:
            yield f"the fastest within one standard error of the best (trial {fastest}):"
            yield f"  fraud-trainer train {result['fastest_flags']}"
    yield f"the most precise (trial {best['trial']}):"
    yield f"  fraud-trainer train {result['flags']}"
    if result["interrupted"] and result["storage"]:
        yield f"interrupted; the same command with --storage {result['storage']} goes on"


def _table(
    shown: Sequence[Mapping[str, Any]], default: Mapping[str, Any], *, is_frontier: bool
) -> Iterator[str]:
    pattern = f"{{:>6}} {{:>10}} {'{:>9} ' * is_frontier}{{:>6}} {{:>7}} {{:>8}}  {{}}"
    cost_head = ["µs a row"] * is_frontier  # without --frontier nothing is measured
    yield pattern.format(
        "trial", "avg.prec.", *cost_head, "trees", "leaves", "columns", ""
    ).rstrip()
    rows = list(shown)
    if default["trial"] not in [row["trial"] for row in rows]:
        rows.append(default)
    for row in rows:
        marks = ["on the front"] if is_frontier and row in shown else []
        marks += ["default plan"] if row["trial"] == default["trial"] else []
        cost = row["microseconds"]
        yield pattern.format(
            row["trial"],
            f"{row['average_precision']:.4f}",
            *["" if cost is None else f"{cost:.1f}"] * is_frontier,
            row["trees"],
            f"{row['leaves']:.0f}",
            row["columns"],
            ", ".join(marks),
        ).rstrip()
