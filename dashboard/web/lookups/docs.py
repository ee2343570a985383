"""The OpenAPI schemas of the lookups."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from dashboard.web.flag_docs import FlagModel, SourceModel


class SummaryModel(BaseModel):
    """Counts and sums of flagged transactions."""

    flagged: int
    blocked: int
    amount: float = Field(description="sum of the amounts")
    expected_loss: float = Field(description="sum of score x amount")
    first_at: int | None = Field(description="epoch milliseconds")
    last_at: int | None = Field(description="epoch milliseconds")


class RelatedModel(BaseModel):
    """Flagged transactions that have something in common with one of them."""

    by: str
    value: float | str | None = Field(description="null if the transaction has none")
    since: int = Field(description="epoch milliseconds")
    until: int = Field(description="epoch milliseconds")
    counted: str = Field(description="what is counted", examples=["flagged transactions"])
    summary: SummaryModel | None
    items: list[FlagModel]


class EntityModel(BaseModel):
    """A card, email domain, device or region."""

    kind: str
    value: str
    counted: str = Field(description="what is counted", examples=["flagged transactions"])
    summary: SummaryModel
    items: list[FlagModel]


class RawModel(BaseModel):
    """An input record."""

    source: SourceModel
    appended_at: int = Field(description="Kafka's timestamp of the record, epoch milliseconds")
    size: int = Field(description="bytes of the value")
    key: str | None
    headers: list[tuple[str, str | None]]
    encoding: str | None = Field(description="json or avro; null if it cannot be decoded")
    fields: dict[str, Any] | None = Field(description="fields that have a value")
    problem: str | None = Field(description="why it cannot be decoded")
    hidden: list[str] = Field(description="what this role does not see (DASHBOARD_MASKED_FIELDS)")


class PointModel(BaseModel):
    """Scores from ``start`` until the next point."""

    start: int = Field(description="epoch milliseconds")
    scored: int
    flagged: int


class TimeseriesModel(BaseModel):
    """Scores over time."""

    step_ms: int
    since: int = Field(description="epoch milliseconds")
    until: int = Field(description="epoch milliseconds")
    items: list[PointModel]


class TotalsModel(BaseModel):
    """Exact counts at the thresholds that the scorer used."""

    review_threshold: float
    block_threshold: float
    scored: int
    flagged: int
    blocked: int


class DayModel(BaseModel):
    """The scores of one UTC day."""

    start: int = Field(description="epoch milliseconds")
    scored: int


class VersionModel(BaseModel):
    """A model version that has scores, with its first and last UTC day."""

    model_version: str
    first_day: int = Field(description="epoch milliseconds")
    last_day: int = Field(description="epoch milliseconds")


class HistogramModel(BaseModel):
    """The distribution of the scores of one version on whole days."""

    model_version: str
    since: int = Field(description="epoch milliseconds")
    until: int = Field(description="epoch milliseconds, exclusive")
    bins: list[int] = Field(description="of equal width from 0 to 1")
    totals: list[TotalsModel]
    days: list[DayModel]
    versions: list[VersionModel]
