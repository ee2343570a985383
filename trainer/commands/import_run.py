"""``fraud-trainer import``: the whole run, from the file to the promotion."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from stream_scorer.runtime.s3 import open_stream
from trainer.commands.flags.decisions import make_decisions
from trainer.commands.train_run import train
from trainer.fitting.foreign_model import read_foreign_model
from trainer.fitting.plan import GatePlan, Plan
from trainer.fitting.xgboost_model import MAX_BYTES
from trainer.import_pipeline import judge_imported
from trainer.settings import TrainerSettings

log = logging.getLogger(__name__)


def import_model(arguments: argparse.Namespace, settings: TrainerSettings) -> dict[str, Any]:
    """Read the model, and run what follows training; returns the value that ``--json`` prints.

    Raises:
        ScorerError: the model or the rows cannot be used; the message is for the user.
    """
    plan = Plan(
        decisions=make_decisions(arguments), gate=GatePlan(max_slowdown=arguments.max_slowdown)
    )
    plan.check()
    with open_stream(arguments.file, settings) as stream:
        content = stream.read(MAX_BYTES + 1)
    model = read_foreign_model(content, arguments.file)
    if model.trees < model.all_trees:
        log.info(
            "%s: training stopped early, so the first %d of %d trees are used",
            arguments.file, model.trees, model.all_trees,
        )  # fmt: skip
    # The rest of the plan says how to train, and nothing was trained.
    parameters = {
        "imported": {"file": arguments.file, "learner": model.learner},
        "decisions": asdict(plan.decisions),
        "gate": asdict(plan.gate),
    }
    find = partial(judge_imported, model, arguments.file)
    return train(arguments, settings, plan, find, parameters)
