"""``/check``: the form, and its answer on the same page. It works without JavaScript."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.predict_request import MAX_BODY_BYTES, MAX_ROWS, InvalidInput, TooManyRows
from dashboard.web.api import find_flag
from dashboard.web.body import content_coding, read_body
from dashboard.web.explaining.checking import Checked, check, describe_faults
from dashboard.web.explaining.form import FIELDS, GROUPS, ROW, CheckForm, cells_of, read_form
from dashboard.web.explaining.sample import sample_request
from dashboard.web.listing import forbid_unknown
from dashboard.web.pages import page_state, render_page
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict import ROW_BYTES, rate_limit_key, require_model, require_rate
from dashboard.web.problems import Problem
from dashboard.web.roles import mask_of, sees_reasons

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

_PARAMETERS: Final = frozenset({"from", "sample", "flag"})
_SAMPLES: Final = {"usual": 0, "unusual": 1}


@router.get("/check", response_model=None)
def show_form(request: Request, parts: PartsOf) -> Response:
    """The form: fields, or a text area for a row; filled in with a sample or a flag."""
    forbid_unknown(request, _PARAMETERS)
    return _render(request, parts, _filled_in(request, parts))


@router.post("/check", response_model=None)
async def answer(request: Request, parts: PartsOf) -> Response:
    """Score and explain what was sent. Every error is shown above the form that caused it."""
    forbid_unknown(request, frozenset())
    content_coding(request)
    key = rate_limit_key(request)
    form = CheckForm()
    with parts.bodies.track(key) as add:
        body = await read_body(request, MAX_BODY_BYTES, add)
        charged = max(1, len(body) // ROW_BYTES)
        parts.predict_rate.charge(key, charged)
        try:
            # The form is read even if it is refused, so that it can be shown again.
            form = await run_sync(read_form, body, limiter=parts.scoring)
            bundle = require_model(request, parts)
            require_rate(parts, key, paid=charged)
            async with parts.scoring:
                require_rate(parts, key, paid=charged)
                checked = await run_sync(
                    check, form, bundle, parts.histories, limiter=CapacityLimiter(1)
                )
        except InvalidInput as error:
            problem = Problem(422, error.summary, errors=describe_faults(error.faults))
            return _render(request, parts, form, problem=problem)
        except TooManyRows:
            problem = Problem(413, f"more than {MAX_ROWS:,} transactions")
            return _render(request, parts, form, problem=problem)
        except Problem as problem:
            return _render(request, parts, form, problem=problem)
    parts.predict_rate.charge(key, max(0, checked.rows - charged))
    _count(request, parts, checked)
    return _render(request, parts, form, checked=checked)


def _count(request: Request, parts: Parts, checked: Checked) -> None:
    count = len(checked.results)
    request.scope["state"]["transaction_count"] = count
    parts.metrics.prediction_count.inc(count)
    if any(checked.histories):
        parts.metrics.count_histories(*checked.histories)


def _filled_in(request: Request, parts: Parts) -> CheckForm:
    """The form that the query string asks for.

    Raises:
        Problem: 422, a value is none of those known; 404, there is no such flag.
    """
    query = request.query_params
    mode, sample, flag_id = (query.get(name) or "" for name in ("from", "sample", "flag"))
    faults = []
    if mode not in ("", FIELDS, ROW):
        faults.append({"field": "from", "reason": f"must be {FIELDS} or {ROW}"})
    if sample and sample not in _SAMPLES:
        faults.append({"field": "sample", "reason": f"must be {' or '.join(_SAMPLES)}"})
    if sample and flag_id:
        faults.append({"field": "flag", "reason": "cannot be given with sample"})
    if faults:
        summary = f"invalid {faults[0]['field']}: {faults[0]['reason']}"
        raise Problem(422, summary, errors=faults)
    row: dict[str, Any] = {}
    note = ""
    if sample:
        row = sample_request()["transactions"][_SAMPLES[sample]]
    elif flag_id:
        flag = orjson.loads(find_flag(parts, flag_id))
        mask = mask_of(request)
        row = {
            name: value
            for name, value in flag["context"].items()
            if value is not None and not mask.hides(name)
        }
        note = (
            f"Filled in from flagged transaction {flag['transaction_id']}. Its record has these "
            "fields only: what else the model reads is missing here, so the score may differ."
        )
    if (mode or FIELDS) == FIELDS:
        return CheckForm(FIELDS, cells_of(row), note=note)
    text = orjson.dumps(row, option=orjson.OPT_INDENT_2).decode() if row else ""
    return CheckForm(ROW, row=text, note=note)


def _render(
    request: Request,
    parts: Parts,
    form: CheckForm,
    *,
    checked: Checked | None = None,
    problem: Problem | None = None,
) -> Response:
    page: Response = render_page(
        request,
        "check.html",
        200 if problem is None else problem.status,
        form=form,
        groups=GROUPS,
        checked=checked,
        problem=problem,
        wrong={fault["field"]: fault["reason"] for fault in problem.errors} if problem else {},
        max_rows=MAX_ROWS,
        history=parts.histories.status(),
        sees_reasons=sees_reasons(request),
        waterfall=checked.waterfall if checked else None,
        **page_state(parts),
    )
    for name in ("Retry-After", "Connection"):
        if problem is not None and name in problem.headers:
            page.headers[name] = problem.headers[name]
    return page
