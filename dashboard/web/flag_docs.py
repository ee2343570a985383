"""The OpenAPI schema of flagged transactions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from dashboard.web.predict_docs import ReasonModel


class SourceModel(BaseModel):
    """The coordinates of a record."""

    topic: str
    partition: int
    offset: int


class FlagModel(BaseModel):
    """One flagged transaction, or one that was sampled for review."""

    id: str = Field(
        description="partition-offset of the input record; topic:partition-offset for a "
        "record of another topic than INPUT_TOPIC",
        examples=["3-8812345"],
    )
    transaction_id: int
    score: float = Field(ge=0, le=1)
    risk: str = Field(
        description="elevated, high or critical; low for samples and older thresholds"
    )
    decision: str = Field(
        description="REVIEW or BLOCK; SAMPLE: approved, and chosen at random for review"
    )
    review_threshold: float
    block_threshold: float
    model_version: str
    scored_at: int = Field(description="epoch milliseconds")
    event_time: int | None = Field(description="epoch milliseconds")
    amount: float | None
    expected_loss: float = Field(description="score x amount; 0 without an amount")
    product: str | None
    card: str | None = Field(description="card1, network and type as display text")
    reasons: list[ReasonModel]
    context: dict[str, Any] = Field(description="the input fields shown to analysts")
    hidden: list[str] = Field(
        [], description="fields that this role does not see (DASHBOARD_MASKED_FIELDS)"
    )
    source: SourceModel = Field(description="the input record")
    delivery: SourceModel = Field(description="the record with the score")
    place: float | None = Field(
        None, description="of a SAMPLE: its random place in the order by expected loss"
    )


class FeaturesModel(BaseModel):
    """What the features of the loaded model are in words."""

    model_version: str | None = Field(description="null while no model is loaded")
    texts: dict[str, str] = Field(
        description="feature → text; without features whose text is their name",
        examples=[{"card1_share": "share of earlier transactions with the same card1"}],
    )


class FlagPageModel(BaseModel):
    """A page of flagged transactions."""

    items: list[FlagModel]
    next_cursor: str | None
    total: int | None = Field(
        description="size of the selection if it fits on this first page; else see /flags/count"
    )
    as_of_seq: str = Field(description="event id after which the stream continues this page")


class CountModel(BaseModel):
    """A number of flagged transactions."""

    count: int
