"""Why a run was started, as its version says it."""

from __future__ import annotations

from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS
from trainer.commands.parser import build_parser
from trainer.publishing.request import request_facts


def test_texts_of_a_request_are_one_safe_line_each() -> None:
    facts = request_facts(id="job-1", reason=" a new\n pattern \x1b[31m", trigger=" ", by=None)
    assert facts == {"requested": {"id": "job-1", "reason": "a new pattern \\x1b[31m"}}
    (cut,) = request_facts(reason="é" * 1000)["requested"].values()
    assert cut == "é" * REASON_MAX_CHARACTERS


def test_run_that_nobody_gave_a_reason_for_has_no_such_fact() -> None:
    assert request_facts(id=None, reason="", trigger=None, by=None) == {}


def test_reason_of_a_training_needs_no_force() -> None:
    arguments = build_parser().parse_args(["train", "--synthetic", "9", "--reason", "why"])
    assert (arguments.reason, arguments.force) == ("why", False)
