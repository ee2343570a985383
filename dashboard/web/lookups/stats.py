"""``/api/v1/stats``: scores over time and their distribution, from running counts."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from dashboard.cache.score_counts import (
    DAY_MS,
    MINUTE_MS,
    SCORE_BINS,
    read_score_counts,
    read_score_versions,
    read_timeseries,
)
from dashboard.cache.times import WAY_OUT, parse_span, parse_time
from dashboard.web.listing import forbid_unknown, invalid
from dashboard.web.lookups.docs import HistogramModel, TimeseriesModel
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses

router = APIRouter(prefix="/api/v1/stats", tags=["stats"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

MOST_POINTS: Final = 1500
_BIN_COUNTS: Final = tuple(count for count in range(1, SCORE_BINS + 1) if SCORE_BINS % count == 0)
_STEP_RULE: Final = "must be whole minutes such as 1m, 15m, 1h or 1d"


def _only_timeseries_parameters(request: Request) -> None:
    forbid_unknown(request, frozenset({"step", "since", "until"}))


def _only_histogram_parameters(request: Request) -> None:
    forbid_unknown(request, frozenset({"model", "bins", "since", "until"}))


@router.get(
    "/timeseries",
    summary="Scores and flagged scores over time",
    response_model=None,
    responses={
        200: {"model": TimeseriesModel},
        **problem_responses(s400="unknown parameter", s422="a value is not valid"),
    },
    dependencies=[Depends(_only_timeseries_parameters)],
)
def timeseries(
    parts: PartsOf,
    step: Annotated[str, Query(description="the width of a point: whole minutes")] = "1m",
    since: Annotated[str, Query(description="the first point: 24h, a time in UTC or ms")] = "1h",
    until: Annotated[str, Query(description="the last point; now if it is left out")] = "",
) -> dict[str, Any]:
    """All points from ``since`` to ``until``, by the time of scoring. Kept for 31 days."""
    now = parts.board.now()
    first, last = parse_range(since, until, now)
    width = parse_span(step)
    if not width or width % MINUTE_MS or width > 366 * DAY_MS:
        raise invalid([{"field": "step", "reason": f"{_STEP_RULE}, not {step[:40]!r}"}])
    first -= first % width
    if (last - first) // width >= MOST_POINTS:
        reason = f"makes more than {MOST_POINTS} points from since to until: use a longer one"
        raise invalid([{"field": "step", "reason": reason}])
    found = {point.start: point for point in read_timeseries(parts.table, first, last, width)}
    items = []
    for start in range(first, last + 1, width):
        point = found.get(start)
        scored, flagged = (0, 0) if point is None else (point.scored, point.flagged)
        items.append({"start": start, "scored": scored, "flagged": flagged})
    return {"step_ms": width, "since": first, "until": last, "items": items}


@router.get(
    "/histogram",
    summary="The distribution of the scores of one model version",
    response_model=None,
    responses={
        200: {"model": HistogramModel},
        **problem_responses(s400="unknown parameter", s422="a value is not valid"),
    },
    dependencies=[Depends(_only_histogram_parameters)],
)
def histogram(
    parts: PartsOf,
    model: Annotated[
        str, Query(max_length=100, description="model version; that of the last score if left out")
    ] = "",
    bins: Annotated[int, Query(description="a divisor of 1000")] = 50,
    since: Annotated[str, Query(description="the first day: 7d, a time in UTC or ms")] = "30d",
    until: Annotated[str, Query(description="the last day; today if it is left out")] = "",
) -> dict[str, Any]:
    """Whole UTC days. Versions are never mixed: ``versions`` has those with scores.

    ``totals`` are exact counts at the thresholds that were used, which may lie between two bins.
    """
    if bins not in _BIN_COUNTS:
        reason = f"must divide {SCORE_BINS}, not {bins}"
        raise invalid([{"field": "bins", "reason": reason}])
    first, last = parse_range(since, until, parts.board.now())
    versions = read_score_versions(parts.table)
    stamp = parts.board.status.stamp
    newest = stamp.model_version if stamp else versions[0][0] if versions else ""
    counts = read_score_counts(parts.table, model or newest, first, last)
    width = SCORE_BINS // bins
    return {
        "model_version": counts.version,
        "since": counts.since,
        "until": counts.until,
        "bins": [sum(counts.bins[i : i + width]) for i in range(0, SCORE_BINS, width)],
        "totals": [total._asdict() for total in counts.totals],
        "days": [{"start": day, "scored": scored} for day, scored in sorted(counts.days.items())],
        "versions": [
            {"model_version": version, "first_day": start, "last_day": end}
            for version, start, end in versions
        ],
    }


def parse_range(since: str, until: str, now: int) -> tuple[int, int]:
    """Two times in epoch milliseconds, the second one not before the first.

    Raises:
        Problem: 422, one of them is not valid.
    """
    first = parse_time(since, now)
    last = parse_time(until, now) if until else now
    if first is None or last is None:
        name, text = ("since", since) if first is None else ("until", until)
        raise invalid([{"field": name, "reason": f"{WAY_OUT}, not {text[:40]!r}"}])
    if not 0 <= first <= last:
        raise invalid([{"field": "since", "reason": "must not be after until or before 1970"}])
    return first, last
