"""``/threshold`` and ``GET /api/v1/threshold``. Both only read: they never change the scorer."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from dashboard.web.auth import identity_of
from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.quality.view import read_quality
from dashboard.web.roles import LEADS, has_role
from dashboard.web.threshold.analysis import Answer, answer, describe_answer, format_day
from dashboard.web.threshold.docs import ThresholdModel
from dashboard.web.threshold.query import (
    API_PARAMETERS,
    PAGE_PARAMETERS,
    WINDOWS,
    Question,
    parse_question,
)
from dashboard.web.threshold.texts import MEASURES, build_cell, format_change, format_threshold
from dashboard.whatif.labels import StandingLabel
from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS
from stream_scorer.quality.sources import LabelSource

router = APIRouter()
PartsOf = Annotated[Parts, Depends(parts_of)]

SOURCE_TEXTS: Final = {
    LabelSource.MATURED: "Everything old enough to know: fraud that was reported or found, and the "
    "rest counts as legitimate. Blocked payments without a label are left out, because a payment "
    "that was stopped is never reported.",
    LabelSource.REVIEWED: "What analysts decided. They see flagged transactions only, so this "
    "gives precision above the threshold in use, and never recall.",
    LabelSource.SAMPLED: "What analysts decided, including a random sample of transactions that "
    "were not flagged, each weighted by the inverse of its chance. This gives recall with an "
    "interval.",
}


@router.get("/threshold", response_model=None, include_in_schema=False)
def threshold_page(request: Request, parts: PartsOf) -> Response:
    """The page. It works without JavaScript: the form sends the question in the query string."""
    forbid_unknown(request, PAGE_PARAMETERS)
    question = parse_question(request.query_params)
    state = page_state(parts)
    try:
        found = _answer(parts, question)
    except Problem as problem:
        if problem.kind != "no-scores" or question.model is not None:
            raise
        return render_page(request, "threshold.html", found=None, question=question, **state)
    return render_page(
        request,
        "threshold.html",
        found=found,
        question=found.question,
        days=sorted({*WINDOWS, question.days}),
        sources=SOURCE_TEXTS,
        first_day=format_day(found.window.first),
        last_day=format_day(found.window.last),
        labels_state=_labels_state(parts),
        can_publish=has_role(identity_of(request), LEADS),
        most=REASON_MAX_CHARACTERS,
        quality=read_quality(parts),
        quality_version=found.question.model,
        **_comparison(found),
        **state,
    )


@router.get(
    "/api/v1/threshold",
    tags=["threshold"],
    summary="What another review threshold would change",
    response_model=None,
    responses={
        200: {"model": ThresholdModel},
        **REFUSALS,
        **problem_responses(
            s400="unknown parameter", s404="no scores", s422="a value is out of range"
        ),
    },
)
def get_threshold(
    request: Request,
    parts: PartsOf,
    window: Annotated[str, Query(description="length in days, such as 7d")] = "",
    labels: Annotated[str, Query(description="matured, reviewed or sampled")] = "",
    model: Annotated[str, Query(description="model version; default: the one in use")] = "",
    maturity: Annotated[
        str, Query(description="with matured labels, how many days ago the window ends: 14d")
    ] = "",
    threshold: Annotated[
        str, Query(description="proposed review threshold; rounded to 0.001")
    ] = "",
) -> Response:
    """Measures at every threshold, for one model version and one source of labels.

    Reads running counts and labels. Nothing is changed.
    """
    del window, labels, model, maturity, threshold  # read from the query, as the page does
    forbid_unknown(request, API_PARAMETERS)
    found = _answer(parts, parse_question(request.query_params))
    labels_state = _labels_state(parts)
    return JSONResponse({**describe_answer(found), "labels_state": labels_state})


def _answer(parts: Parts, question: Question) -> Answer:
    stamp = parts.board.status.stamp
    current = stamp.model_version if stamp is not None else None
    now = int(time.time() * 1000)
    labels = [StandingLabel(*label) for label in parts.desk.standing_labels()]
    return answer(parts.table, labels, question, current, now)


def _labels_state(parts: Parts) -> str:
    """Whether the labels are all there: live, starting, rebuilding, waiting or missing."""
    status = parts.desk.status()
    return "missing" if parts.settings.labels_topic in status.missing else status.state


def _comparison(found: Answer) -> dict[str, Any]:
    """The rows of the comparison, and what a lead copies."""
    if found.curve is None or found.thresholds is None:
        return {"rows": None}
    described, minutes = describe_answer(found), found.question.minutes
    at_least = described["at_least"]
    live, proposed = described["live"], described["proposed"]
    review = found.thresholds.review
    rows = [
        {
            "measure": measure,
            "live": build_cell(measure, live, minutes, at_least),
            "proposed": build_cell(measure, proposed, minutes, at_least),
            "change": format_change(measure, live, proposed, minutes),
        }
        for measure in MEASURES
    ]
    return {
        "rows": rows,
        "live": format_threshold(review, review),
        "proposed": format_threshold(proposed["threshold"], review),
        "proposed_value": proposed["threshold"],
        "share": proposed["alerts"] / found.scores,
        "recall_reason": described["recall_reason"],
        "at_least": at_least,
        "has_sample": bool(found.labelled.is_sampled.any()),
        "reviewed": live["precision"]["n"],
        "alerts": live["alerts"],
    }
