"""The OpenAPI schema of model versions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from dashboard.web.admin.champion_alias import AliasModel


class GateModel(BaseModel):
    """What the gate decided when the version was trained."""

    passed: bool | None = Field(description="null if the version has no gate")
    refusals: list[str]
    notes: list[str]
    champion: str | None = Field(description="the version it was compared with")


class VersionModel(BaseModel):
    """One version in the store."""

    version: str = Field(examples=["v7"])
    is_promoted: bool
    created_at: str | None
    rows: float | None = Field(description="training rows")
    average_precision: float | None
    recall_top_2_percent: float | None
    review_threshold: float | None
    gate: GateModel
    rejection: str | None = Field(description="why scorers reject it, if they do")
    acceptance: str | None = Field(description="which operator accepted it, when and why")
    training: str | None = Field(
        None, description="the training that published it: see /api/v1/trainings"
    )
    forced: str | None = Field(description="who promoted it by force, when and why")
    problem: str | None = Field(description="why its metadata cannot be read")


class PromotionRecordModel(BaseModel):
    """One promotion in the store's own log."""

    version: str
    previous: str | None
    is_rollback: bool
    at: str | None
    host: str | None
    forced_by: str | None
    reason: str | None


class ModelsModel(BaseModel):
    """The newest versions, newest first, and where each is in use."""

    promoted: str | None = Field(description="the version that the store's pointer names")
    loaded_here: dict[str, Any] = Field(description="the version that /predict scores with")
    on_the_stream: str | None = Field(description="the version of the latest score on the topic")
    previous: str | None = Field(description="the version that a rollback goes to")
    no_previous: str | None = Field(description="why there is none")
    versions: list[VersionModel]
    older_versions: int = Field(description="older versions that are not listed")
    promotions: list[PromotionRecordModel] = Field(description="newest first")
    poll_seconds: float = Field(description="how often scorers look at the pointer")


class ReportModel(BaseModel):
    """The evaluation report that is stored with a version."""

    version: str = Field(
        description="the version that was evaluated: another one for a version that was "
        "republished with other thresholds"
    )
    bytes: int
    href: str = Field(description="the page, for people", examples=["/model/v7/report"])


class VersionDetailsModel(BaseModel):
    """One version in labelled rows, with another beside it."""

    version: str
    against: str | None
    gate: GateModel
    sections: list[dict[str, Any]] = Field(description="title, and rows of label, value and text")
    features: list[dict[str, Any]] = Field(description="name, text and share of the gain")
    report: ReportModel | None = Field(
        description="null if the version was published without one, as by earlier releases"
    )
    curves: dict[str, Any] = Field(
        description="precision at each of recalls, and recall at each of budgets, on the test split"
    )


class PromotedModel(BaseModel):
    """A promotion that happened."""

    promoted: str
    previous: str | None
    is_rollback: bool
    force: bool
    loaded_within_seconds: float = Field(description="until scorers have looked at the pointer")
    mlflow: AliasModel | None = Field(description="null without MLFLOW_TRACKING_URI")
