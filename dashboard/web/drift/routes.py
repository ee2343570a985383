"""``/drift`` and ``GET /api/v1/drift``: the last result of ``stream-scorer drift --publish``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from markupsafe import Markup

from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from stream_scorer.drift.comparison import Shift
from stream_scorer.drift.picture import draw_bars
from stream_scorer.drift.reading.report import DriftReport
from stream_scorer.errors import StoreError

router = APIRouter()
PartsOf = Annotated[Parts, Depends(parts_of)]

COMMAND: Final = "stream-scorer drift --since 7d --publish"


@router.get("/drift", response_model=None, include_in_schema=False)
def drift_page(request: Request, parts: PartsOf) -> Response:
    """The page. It has no script: everything is drawn here."""
    forbid_unknown(request, frozenset())
    report, problem = None, ""
    try:
        report = parts.operations.drift.read()
    except StoreError as error:
        problem = str(error)
    return render_page(
        request,
        "drift.html",
        report=report,
        shifts=[] if report is None else [_describe(one) for one in report.most_moved],
        scores=None if report is None or report.scores is None else _describe(report.scores),
        live=parts.operations.meter.drift(),
        problem=problem,
        command=COMMAND,
        **page_state(parts),
    )


@router.get(
    "/api/v1/drift",
    tags=["models"],
    summary="Features and scores that moved since the model was trained",
    response_model=None,
    responses={
        **REFUSALS,
        **problem_responses(
            s400="unknown parameter",
            s404="no run has published a result yet (no-drift)",
            s503="the artifact store does not answer, or the result cannot be read",
        ),
    },
)
def get_drift(request: Request, parts: PartsOf) -> dict[str, Any]:
    """All features that were compared, the ones that moved most first, with both histograms."""
    forbid_unknown(request, frozenset())
    try:
        report: DriftReport | None = parts.operations.drift.read()
    except StoreError as error:
        raise Problem(
            503, str(error), kind="store-unavailable", headers={"Retry-After": "5"}
        ) from None
    if report is None:
        raise Problem(404, f"no drift run yet: run {COMMAND}", kind="no-drift")
    return report.as_json()


def _percent(share: float) -> str:
    """``4.8 %``."""
    return f"{share * 100:.1f} %"


def _describe(shift: Shift) -> Mapping[str, Any]:
    rows = zip(shift.labels(), shift.expected, shift.found, strict=True)
    return {
        "name": shift.name,
        "psi": f"{shift.psi:.3f}",
        "by_chance": f"{shift.by_chance:.3f}",
        "verdict": shift.verdict,
        "missing": [_percent(share) for share in shift.missing] if shift.has_missing else None,
        "picture": Markup(draw_bars(shift)),  # noqa: S704 - numbers and our own tags alone
        "rows": [(label, _percent(before), _percent(now)) for label, before, now in rows],
    }
