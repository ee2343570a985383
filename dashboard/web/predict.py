"""``POST /predict``: scores the transactions of one request. Writes nothing to Kafka."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.history.past import Histories
from dashboard.model_status import describe_model
from dashboard.predicting import (
    MAX_BODY_BYTES,
    MAX_ROWS,
    InvalidInput,
    Prediction,
    TooManyRows,
    predict,
)
from dashboard.web.auth import LOCAL, identity_of
from dashboard.web.body import GZIP, MAX_RATIO, content_coding, inflate, read_body
from dashboard.web.limits import client_key, too_many_requests
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import (
    REFUSALS,
    PredictionModel,
    problem_responses,
    rate_limit_headers,
    request_body,
)
from dashboard.web.problems import Problem
from dashboard.web.roles import sees_reasons
from stream_scorer.model.bundle import Bundle

router = APIRouter()

ROW_BYTES: Final = 8192
"""The size of a transaction with every column as JSON. A body is charged one row per this size."""

_MAX_NAMES: Final = 100  # in one problem


@router.post(
    "/predict",
    summary="Score transactions",
    response_model=None,
    responses={
        200: {
            "model": PredictionModel,
            "description": "one result for each transaction",
            "headers": rate_limit_headers(),
        },
        **REFUSALS,
        **problem_responses(
            s403="cross-site request from a browser",
            s408="the body did not arrive in time",
            s400="the body is not valid gzip, or a query parameter",
            s413="the body is too large, also once decompressed, or holds too many transactions",
            s415="a Content-Encoding other than gzip",
            s422="some rows are not valid; errors lists the row and field of each fault",
            s503="no model is loaded, or the bodies of concurrent requests reached their limit; "
            "see Retry-After",
        ),
        429: problem_responses(
            s429="rate limit DASHBOARD_PREDICT_ROWS_PER_SECOND exceeded; see Retry-After"
        )[429]
        | {"headers": rate_limit_headers()},
    },
    openapi_extra={"requestBody": request_body()},
)
async def predict_transactions(
    request: Request, parts: Annotated[Parts, Depends(parts_of)]
) -> Response:
    """Score up to 1,000 transactions with the promoted model: all of them, or none.

    The stream ignores unknown fields of a transaction. Here they are refused, so that a misspelt
    name is noticed.
    """
    key = rate_limit_key(request)
    try:
        response = await _score(request, parts, key)
    except Problem as problem:
        problem.headers |= parts.predict_rate.headers_of(key)
        raise
    response.headers.update(parts.predict_rate.headers_of(key))
    return response


async def _score(request: Request, parts: Parts, key: str) -> Response:
    forbid_query(request)
    bundle = require_model(request, parts)
    require_rate(parts, key)
    coding = content_coding(request, accepted=(GZIP,))
    with parts.bodies.track(key) as add:  # until it is scored: scoring may have to wait for a CPU
        body = await read_body(request, MAX_BODY_BYTES, add)
        charged = max(1, len(body) // ROW_BYTES)  # an invalid request costs work too
        parts.predict_rate.charge(key, charged)
        if coding:
            body, more = await _inflate(body, key, parts)
            add(len(body))
            charged += more
        async with parts.scoring:
            # While this one waited for a CPU, others of the same client may have been charged.
            require_rate(parts, key, paid=charged)
            prediction = await run_sync(
                _predict, body, bundle, parts.histories, limiter=CapacityLimiter(1)
            )
    count = len(prediction.predictions)
    parts.predict_rate.charge(key, max(0, count - charged) + prediction.explain_rows)
    request.scope["state"]["transaction_count"] = count
    parts.metrics.prediction_count.inc(count)
    if (past := prediction.past) is not None:
        parts.metrics.count_histories(past.used, count - past.used)
    return Response(await run_sync(_dump, prediction.as_json()), media_type="application/json")


def forbid_query(request: Request) -> None:
    """Reject query parameters: all of a request is in its body.

    Raises:
        Problem: 400, with each parameter.
    """
    names = list(dict.fromkeys(name for name, _ in request.query_params.multi_items()))
    if not names:
        return
    hint = ""
    if "explain" in names:
        hint = ': send it in the body, {"transactions": [{…}], "explain": "shap"}'
    raise Problem(
        400,
        f"unknown query parameter {names[0][:40]!r}; /predict has none{hint}",
        errors=[
            {"row": None, "field": name[:40], "reason": "unknown query parameter"}
            for name in names[:_MAX_NAMES]
        ],
        headers={"Connection": "close"},  # the body is not read
    )


def require_model(request: Request, parts: Parts) -> Bundle:
    """The loaded model.

    Raises:
        Problem: 503, none is loaded.
    """
    bundle = parts.model.current
    if bundle is None:
        reason = describe_model(parts.model, in_full=sees_reasons(request))["detail"]
        raise Problem(
            503,
            f"no model is loaded: {reason}",
            kind="model-not-loaded",
            headers={"Retry-After": "5"},
        )
    return bundle


def require_rate(parts: Parts, key: str, paid: float = 0) -> None:
    """Check the rate limit of a client, which has ``paid`` for this request already.

    Raises:
        Problem: 429.
    """
    if wait := parts.predict_rate.wait_seconds(key, paid):
        raise too_many_requests(
            "rate limit exceeded: DASHBOARD_PREDICT_ROWS_PER_SECOND"
            f"={parts.settings.dashboard_predict_rows_per_second}",
            wait,
        )


async def _inflate(body: bytes, key: str, parts: Parts) -> tuple[bytes, int]:
    """Decompress a body and charge for its content. If it is refused, charge for the most.

    Returns:
        The content, and what was charged.
    """
    produced = min(MAX_BODY_BYTES, len(body) * MAX_RATIO)
    try:
        content = await run_sync(inflate, body, MAX_BODY_BYTES, limiter=parts.scoring)
        produced = len(content)
        return content, produced // ROW_BYTES
    finally:
        parts.predict_rate.charge(key, produced // ROW_BYTES)


def rate_limit_key(request: Request) -> str:
    """The user whose limit is charged, or the client address with ``DASHBOARD_AUTH=none``."""
    identity = identity_of(request)
    if identity is None or identity == LOCAL:
        return f"address {client_key(request)}"
    return f"user {identity.name}"


def _predict(body: bytes, bundle: Bundle, histories: Histories) -> Prediction:
    try:
        return predict(body, bundle, histories)
    except InvalidInput as error:
        raise Problem(
            422,
            error.summary,
            kind="invalid-input",
            errors=[fault._asdict() for fault in error.faults],
        ) from None
    except TooManyRows:
        raise Problem(413, f"more than {MAX_ROWS:,} transactions in one request") from None


def _dump(response: dict[str, Any]) -> bytes:
    return orjson.dumps(response)
