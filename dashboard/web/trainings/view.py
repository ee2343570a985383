"""Trainings as the API and the model page show them, with what each published."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from anyio.to_thread import run_sync
from fastapi import Request

from dashboard.models.catalog import Version
from dashboard.trainings.training import (
    LOG_MAX_LINES,
    REQUESTED,
    State,
    Training,
    UnknownTraining,
)
from dashboard.web.auth import identity_of
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from dashboard.web.roles import CANCELLERS, HIDDEN, TRAINERS, has_role
from dashboard.web.trainings.starting import call, problem_of, record_end
from stream_scorer.errors import StoreError
from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS

log = logging.getLogger(__name__)

MOST: Final = 20
"""Trainings that are shown, the newest."""

_STORE_SECONDS: Final = 15.0

Results = Mapping[str, Mapping[str, Any]]


async def describe_all(parts: Parts) -> dict[str, Any]:
    """The newest trainings with their results.

    Raises:
        Problem: 503, they cannot be read.
    """
    trainings = (await call(parts, parts.trainings.list))[:MOST]
    results, problem = await _results(parts, trainings)
    described = [describe(one, results) for one in trainings]
    await _note_ends(parts, trainings, described)
    return {
        "where": parts.trainings.where,
        "cooldown_hours": parts.settings.training_cooldown_hours,
        "trainings": described,
        "results_problem": problem or None,
    }


async def describe_one(request: Request, parts: Parts, training_id: str) -> dict[str, Any]:
    """One training with its result and, for those who may start one, the end of its log.

    Raises:
        Problem: 404, it is not known; 503, it cannot be read.
    """
    trainings = await call(parts, parts.trainings.list)
    found = next((one for one in trainings if one.id == training_id), None)
    if found is None:
        raise problem_of(UnknownTraining(training_id), parts.board.now())
    results, problem = await _results(parts, [found])
    described = describe(found, results)
    await _note_ends(parts, [found], [described])
    log = None
    if has_role(identity_of(request), TRAINERS):
        log = await call(parts, lambda: parts.trainings.log(found.id))
    return {
        **described,
        "log": log,
        "log_lines": LOG_MAX_LINES,
        "results_problem": problem or None,
    }


async def page_context(request: Request, parts: Parts) -> dict[str, Any]:
    """What the section of the model page shows. A problem is shown in its place."""
    context: dict[str, Any] = {
        "key": uuid.uuid4().hex,
        "may_train": has_role(identity_of(request), TRAINERS),
        "may_cancel": False,
        "reason_max": REASON_MAX_CHARACTERS,
        "where": parts.trainings.where,
        "rows": [],
        "running": None,
        "log": "",
        "problem": "",
    }
    try:
        context["rows"] = (await describe_all(parts))["trainings"]
        if context["rows"] and context["may_train"]:
            newest = context["rows"][0]["id"]
            context["log"] = await call(parts, lambda: parts.trainings.log(newest))
    except Problem as problem:
        context["problem"] = problem.detail
    running = next((one for one in context["rows"] if one["state"] == "running"), None)
    context["running"] = running
    if running is not None and running["trigger"] in REQUESTED:
        context["may_cancel"] = has_role(identity_of(request), CANCELLERS)
    return context


def describe(training: Training, results: Results) -> dict[str, Any]:
    """A training as JSON, with the version that it published, if any.

    A training whose version the gate refused is ``refused``, also if its exit code does not say so:
    the store knows it, and what the gate says about it. A version that was promoted by force is not
    refused, whatever serves now.
    """
    found, result = training.as_json(), results.get(training.id)
    result = None if result is None else dict(result)
    is_forced = bool(result and (result.pop("is_forced") or result["is_promoted"]))
    is_over = training.state in (State.SUCCEEDED, State.FAILED, State.REFUSED)
    if is_over and result and result["passed"] is False and not is_forced:
        why = "; ".join(map(str, result["refusals"])) or "it says no reason"
        found["state"] = State.REFUSED.value
        found["detail"] = f"the gate refused {result['version']}: {why}"
    return {**found, "result": result}


async def _results(parts: Parts, trainings: Sequence[Training]) -> tuple[Results, str]:
    """Training → what it published, and why that is not known if the store cannot be read."""
    if not trainings:
        return {}, ""
    try:
        with anyio.fail_after(_STORE_SECONDS):
            overview = await run_sync(
                parts.catalog.overview, limiter=parts.waiting, abandon_on_cancel=True
            )
    except TimeoutError:
        return {}, "the artifact store does not answer"
    except StoreError as error:
        log.warning("the artifact store cannot be read: %s", error)
        return {}, f"the artifact store cannot be read; {HIDDEN}"
    # Newest first, so that the last attempt of a Job wins if an earlier one had published too.
    results: dict[str, Mapping[str, Any]] = {}
    for version in overview.versions:
        if version.summary.training:
            results.setdefault(version.summary.training, _result(version))
    return results, ""


async def _note_ends(
    parts: Parts, trainings: Sequence[Training], described: Sequence[Mapping[str, Any]]
) -> None:
    """Count those that have ended, by the state that is shown, and record the requested ones."""
    found = {one.token: shown for one, shown in zip(trainings, described, strict=True)}
    states = {token: State(shown["state"]) for token, shown in found.items()}
    for token in parts.trainings.count_ends(states):
        if found[token]["trigger"] in REQUESTED:
            await record_end(parts, token, found[token])


def _result(version: Version) -> dict[str, Any]:
    gate = version.summary.gate
    return {
        "version": version.name,
        "is_promoted": version.is_promoted,
        "is_forced": version.forced is not None,
        "passed": gate["passed"],
        "refusals": list(gate["refusals"]),
    }
