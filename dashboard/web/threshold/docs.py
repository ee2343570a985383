"""The OpenAPI schema of ``/api/v1/threshold``."""

from __future__ import annotations

from pydantic import BaseModel, Field


class EstimateModel(BaseModel):
    """A proportion or a rate with its 95 % Wilson interval; null where it is not known."""

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(description="rows that the estimate rests on")
    few: bool = Field(description="fewer than 50 rows")


class MeasuresModel(BaseModel):
    """All measures at one threshold. Those a day are of all traffic."""

    threshold: float
    alerts: int = Field(description="scores at or above the threshold in the window")
    alerts_per_day: float
    labelled: int = Field(description="labelled ones of them")
    precision: EstimateModel
    recall: EstimateModel
    legitimate_per_day: EstimateModel
    caught_per_day: float = Field(description="amount of labelled fraud that is flagged")
    missed_per_day: float | None = Field(description="amount of labelled fraud that is not flagged")
    missed_without_amount: int = Field(description="missed frauds whose amount is not known")


class WindowModel(BaseModel):
    """Whole days in UTC."""

    first_day: str = Field(examples=["2026-11-16"])
    last_day: str = Field(examples=["2026-11-22"])
    days: int
    maturity_days: int | None = Field(description="with matured labels")


class ThresholdsModel(BaseModel):
    """The thresholds of the model version."""

    review: float
    block: float


class ThresholdModel(BaseModel):
    """What another review threshold would change, for one model version."""

    model: str
    models: list[str] = Field(description="the versions that have scores, newest first")
    rule: str = Field(examples=["score >= threshold"])
    labels: str = Field(description="matured, reviewed or sampled")
    labels_state: str = Field(
        description="live, or why labels are not complete: starting, rebuilding, waiting (Kafka "
        "does not answer) or missing (there is no labels topic)"
    )
    window: WindowModel
    scores: int = Field(description="scores of the version in the window")
    scores_per_day: float = Field(description="of all versions")
    is_partial_day: bool = Field(description="no day of the window is known as a whole")
    has_other_thresholds: bool = Field(
        description="the version was used with several thresholds in this window"
    )
    is_trimmed: bool = Field(
        description="flagged transactions of the window are no longer kept (DASHBOARD_KEEP_FLAGS): "
        "matured labels leave out their days, others leave out their labels"
    )
    thresholds: ThresholdsModel | None = Field(description="null without scores in the window")
    recall_reason: str | None = Field(description="why recall is not one number; empty if it is")
    at_least: list[str] = Field(
        description="measures that are lower bounds: some fraud or its amount is not known here"
    )
    live: MeasuresModel | None = Field(description="at the review threshold in use")
    proposed: MeasuresModel | None = Field(description="at the proposed threshold")
    is_rounded: bool = Field(description="the proposed threshold was rounded to 0.001")
    curve: dict[str, list[float | None]] | None = Field(
        description="the same measures as columns, one value for each threshold; the ends of the "
        "intervals are in _low and _high, the rows in _n"
    )
