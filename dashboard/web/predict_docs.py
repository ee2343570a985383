"""The OpenAPI schema of ``/predict``, built from the transaction contract."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from dashboard.predict_request import MAX_PATH_ROWS, MAX_ROWS, MAX_SHAP_ROWS, PATH, SHAP
from schemas.contracts import AMOUNT, EVENT_TIME, ID, TIME, load_schema
from stream_scorer.model.scoring import LISTED

_KINDS = {"long": "integer", "double": "number", "string": "string"}


class ReasonModel(BaseModel):
    """One feature that raised the score."""

    feature: str = Field(description="its name in the model; /api/v1/features has its text")
    value: str | None = Field(description="the feature's value as text; null if missing")
    contribution: float = Field(description="contribution to the raw score (log-odds)")


class ContributionModel(BaseModel):
    """One feature that raised or lowered the raw score."""

    feature: str = Field(description="its name in the model; /api/v1/features has its text")
    value: str | None = Field(description="the feature's value as text; null if missing")
    contribution: float = Field(description="contribution to the raw score (log-odds)")


class ExplanationModel(BaseModel):
    """What a score is made of: base + contributions + rest = raw score."""

    method: str = Field(description="shap or path")
    base: float = Field(description="the expected raw score (log-odds) by this method")
    contributions: list[ContributionModel] = Field(
        description=f"up and down, the largest in size first; at most {LISTED}"
    )
    rest: float = Field(description="the contributions of all other features together")
    raw_score: float = Field(description="log-odds; the score is its sigmoid, then the calibration")


class HistoryModel(BaseModel):
    """Whether a score used the earlier transactions of the card, and which."""

    used: bool
    reason: str | None = Field(None, description="why the history was not used")
    as_of: str | None = Field(
        None,
        description="every transaction that was committed by this time (UTC) was used, if it is of "
        "the same card",
        examples=["2026-01-31T12:00:00Z"],
    )
    partition: int | None = Field(None, description="the input partition of the card")
    offset: int | None = Field(
        None, description="inputs of that partition from this offset on were not used"
    )


class ResultModel(BaseModel):
    """The score and decision of one transaction."""

    transaction_id: int
    score: float = Field(ge=0, le=1)
    decision: str = Field(description="APPROVE, REVIEW or BLOCK")
    is_flagged: bool
    review_threshold: float
    block_threshold: float
    reasons: list[ReasonModel] = Field(
        description='set for flagged transactions, or for all with "explain"'
    )
    model_version: str
    explanation: ExplanationModel | None = Field(None, description='only with "explain"')
    history: HistoryModel | None = Field(
        None, description="only if the model reads the history of cards; see PREDICT_HISTORY"
    )


class PredictionModel(BaseModel):
    """Scores in the order of the transactions in the request."""

    predictions: list[float]
    results: list[ResultModel]
    model_version: str


class ErrorModel(BaseModel):
    """One fault of a request."""

    row: int | None = Field(None, description="index in transactions, from 0")
    field: str | None = None
    reason: str


class ProblemModel(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ErrorModel] | None = None
    trace_id: str | None = None


def problem_responses(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for statuses given as ``s404="why"``."""
    schema = {"$ref": "#/components/schemas/ProblemModel"}
    return {
        int(status[1:]): {
            "description": why,
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status, why in reasons.items()
    }


REFUSALS: Final = problem_responses(
    s400="unknown query parameter",
    s401="authentication required (DASHBOARD_AUTH)",
    s421="the host name is not a loopback name (DASHBOARD_AUTH=none)",
    s429="too many wrong tokens from this address, or rate limit exceeded; see Retry-After",
)
"""Responses of every path except the probes, before anything is done."""


def rate_limit_headers() -> dict[str, Any]:
    """The headers that say what a client may still send."""
    policy = (
        "the limit (draft-ietf-httpapi-ratelimit-headers): q rows at once, refilled in w seconds. "
        "A body counts as at least one row for each 8 KiB, and an explanation as the rows that "
        "could be scored in its time. Absent without a limit"
    )
    left = "what is left: r rows. All of it in t seconds; if r is 0, try again then"
    return {
        "RateLimit-Policy": _header(policy, '"rows";q=200000;w=2'),
        "RateLimit": _header(left, '"rows";r=199950;t=1'),
    }


def _header(text: str, example: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}, "example": example}


def request_body() -> dict[str, Any]:
    """The request body of ``/predict``."""
    schema = {
        "type": "object",
        "required": ["transactions"],
        "additionalProperties": False,
        "properties": {
            "transactions": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_ROWS,
                "items": _transaction(),
            },
            "explain": {
                "enum": [SHAP, PATH],
                "description": "explain every row: shap (exact TreeSHAP, slow, at most "
                f"{MAX_SHAP_ROWS} rows) or path (as the stream does, at most {MAX_PATH_ROWS} "
                "rows). The rate limit is charged for the time that it takes",
            },
        },
    }
    example = {"transactions": [{ID: 2987000, TIME: 86400, AMOUNT: 68.5, "ProductCD": "W"}]}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


def _transaction() -> dict[str, Any]:
    required = [ID, TIME, AMOUNT]
    properties: dict[str, Any] = {}
    for field in load_schema("transaction")["fields"]:
        name = field["name"]
        if name == EVENT_TIME:
            properties[name] = {"type": ["integer", "null"], "description": "epoch milliseconds"}
            continue
        kind = field["type"] if isinstance(field["type"], str) else field["type"][1]
        properties[name] = {"type": _KINDS[kind] if name in required else [_KINDS[kind], "null"]}
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }
