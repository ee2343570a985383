"""``POST /predict``: scores for the transactions of one request; nothing is written anywhere."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.model_status import describe_model
from dashboard.predicting import (
    MAX_BODY_BYTES,
    MAX_ROWS,
    InvalidInput,
    Prediction,
    TooManyRows,
    predict,
)
from dashboard.web.body import read_body
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import PredictionModel, problem_responses, request_body
from dashboard.web.problems import Problem
from stream_scorer.model.bundle import Bundle

router = APIRouter()


@router.post(
    "/predict",
    summary="Score transactions",
    response_model=None,
    responses={
        200: {"model": PredictionModel, "description": "one result for each transaction"},
        **problem_responses(
            s413="the body is too large or holds too many transactions",
            s422="rows that cannot be scored, with row and field of each fault",
            s503="no model is loaded yet",
        ),
    },
    openapi_extra={"requestBody": request_body()},
)
async def predict_transactions(
    request: Request, parts: Annotated[Parts, Depends(parts_of)]
) -> Response:
    """Score up to 1,000 transactions with the model the stream uses, all or none."""
    bundle = parts.model.current
    if bundle is None:
        why = describe_model(parts.model)["detail"]
        raise Problem(
            503, f"no model is loaded: {why}", kind="model-not-loaded", headers={"Retry-After": "5"}
        )
    body = await read_body(request, MAX_BODY_BYTES)
    prediction = await run_sync(_predict, body, bundle, limiter=parts.scoring)
    count = len(prediction.predictions)
    request.scope["state"]["transaction_count"] = count
    parts.metrics.prediction_count.inc(count)
    return Response(await run_sync(_dump, prediction.as_json()), media_type="application/json")


def _predict(body: bytes, bundle: Bundle) -> Prediction:
    try:
        return predict(body, bundle)
    except InvalidInput as error:
        raise Problem(
            422,
            error.summary,
            kind="invalid-input",
            errors=[fault._asdict() for fault in error.faults],
        ) from None
    except TooManyRows:
        raise Problem(413, f"more than {MAX_ROWS:,} transactions in one request") from None


def _dump(answer: dict[str, Any]) -> bytes:
    return orjson.dumps(answer)
