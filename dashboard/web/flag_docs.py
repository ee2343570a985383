"""How a flagged transaction describes itself in OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from dashboard.web.predict_docs import ReasonModel


class SourceModel(BaseModel):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class FlagModel(BaseModel):
    """One flagged transaction."""

    id: str = Field(description="partition-offset of the input record", examples=["3-8812345"])
    transaction_id: int
    score: float = Field(ge=0, le=1)
    risk: str = Field(description="elevated, high or critical; low only for older thresholds")
    decision: str = Field(description="REVIEW or BLOCK")
    review_threshold: float
    block_threshold: float
    model_version: str
    scored_at: int = Field(description="epoch milliseconds")
    event_time: int | None = Field(description="epoch milliseconds")
    amount: float | None
    product: str | None
    card: str | None = Field(description="card1 and the card's network and kind, for people")
    reasons: list[ReasonModel]
    context: dict[str, Any] = Field(description="the fields a person needs to see")
    source: SourceModel = Field(description="the input record")
    delivery: SourceModel = Field(description="the score's own record")


class FlagPageModel(BaseModel):
    """A page of flagged transactions."""

    items: list[FlagModel]
    next_cursor: str | None
    as_of_seq: str = Field(description="event id of the stream this page is in step with")
