"""The OpenAPI schema of trainings."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from dashboard.web.predict_docs import problem_responses
from dashboard.web.trainings.bodies import TrainingBody


class TrainingResultModel(BaseModel):
    """What a training published."""

    version: str = Field(examples=["v8"])
    is_promoted: bool
    passed: bool | None = Field(description="what the gate decided; null if it has no gate")
    refusals: list[str] = Field(description="why the gate refused it")


class TrainingModel(BaseModel):
    """One training."""

    id: str = Field(description="the name of its Job or of its folder")
    state: str = Field(
        description="running, succeeded, failed, refused (by the quality gate), cancelled, or "
        "lost: it vanished"
    )
    trigger: str = Field(description="person, drift, quality, schedule or kubectl")
    reason: str | None
    by: str | None = Field(description="who requested it")
    started_at: int = Field(description="epoch milliseconds")
    ended_at: int | None = Field(description="epoch milliseconds")
    detail: str | None = Field(
        description="why it failed or was refused, who cancelled it, or what it waits for"
    )
    result: TrainingResultModel | None = Field(description="null until it has published a version")


class TrainingLogModel(TrainingModel):
    """One training with its log."""

    log: str | None = Field(description="its last lines; null without the role lead or ops")
    log_lines: int = Field(description="the most lines that are shown")
    results_problem: str | None


class TrainingsModel(BaseModel):
    """The last trainings, newest first."""

    where: str = Field(description="where trainings run")
    cooldown_hours: float
    trainings: list[TrainingModel]
    results_problem: str | None = Field(description="why no results are known, if so")


class StartedModel(TrainingModel):
    """A training that a request has started."""

    is_new: bool = Field(description="false: the same Idempotency-Key has started it before")


class NotificationModel(BaseModel):
    """What a notification of Alertmanager did."""

    started: bool
    training: str | None
    reason: str | None = Field(description="why it started nothing")


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """A required JSON body."""
    content = {"application/json": {"schema": model.model_json_schema(ref_template="#/{model}")}}
    return {"requestBody": {"required": True, "content": content}}


_BODY_PROBLEMS: Final = problem_responses(
    s400="unknown parameter, or an Idempotency-Key that is not valid",
    s403="the role is not lead or ops, or a webhook token that may not do this",
    s408="the body did not arrive in time",
    s413="the body is too large",
    s415="the body has a Content-Encoding that is not supported",
    s422="the body is not valid",
    s503="the training cannot be started; the detail says why and what to do",
)
START_PROBLEMS: Final = _BODY_PROBLEMS | problem_responses(
    s409="a training runs: `running` is it",
    s429="an automatic request within the cooldown: `next_at` and Retry-After say when the next "
    "one may start; or a rate limit",
)
CANCEL_PROBLEMS: Final = problem_responses(
    s400="unknown parameter",
    s403="the role is not ops",
    s404="no such training, or it is no longer kept",
    s409="it has ended, or it was started by the schedule or kubectl: `training` is it",
    s503="the training cannot be cancelled; the detail says why and what to do",
)
WEBHOOK_PROBLEMS: Final = _BODY_PROBLEMS
START_BODY: Final = json_body(TrainingBody)
WEBHOOK_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["version", "status", "alerts"],
                    "properties": {
                        name: {"description": what}
                        for name, what in (
                            ("version", 'the string "4"'),
                            ("status", "firing or resolved"),
                            ("alerts", "a list of objects with status, labels and annotations"),
                        )
                    },
                },
                "example": {
                    "version": "4",
                    "groupKey": "{}:{}",
                    "status": "firing",
                    "alerts": [
                        {
                            "status": "firing",
                            "labels": {"alertname": "FraudFeatureDrift", "feature": "C13"},
                            "annotations": {"summary": "C13 has moved"},
                        }
                    ],
                },
            }
        },
    }
}
READ_PROBLEMS: Final = problem_responses(
    s400="unknown parameter", s503="the trainings cannot be read; the detail says why"
)
