"""Bodies of requests for trainings: our own, and the webhook of Alertmanager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dashboard.trainings.rules import clean_reason
from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS
from stream_scorer.runtime.text import printable

DRIFT_ALERTS: Final = ("FraudFeatureDrift", "FraudScoreDrift")
"""The alerts that start a training. Others that a route sends by mistake start none."""

_MOST_NAMES: Final = 5

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_MAX_CHARACTERS),
]


class TrainingBody(BaseModel):
    """A request for a training."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"reason": "a new fraud pattern since Monday", "trigger": "person"}
        },
    )

    reason: Reason = Field(description="why; it is recorded, also with the version")
    trigger: Literal["person", "drift", "quality"] | None = Field(
        None,
        description="what requests it; drift and quality share a cooldown, and webhook tokens may "
        "use these only. Default: person, or drift with a webhook token",
    )


class Alert(BaseModel):
    """One alert of a notification; what else it has is not used."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class AlertmanagerBody(BaseModel):
    """The webhook of Alertmanager (https://prometheus.io/docs/alerting/latest/configuration/)."""

    version: Literal["4"]
    groupKey: str = Field("", max_length=10_000)  # noqa: N815 - as Alertmanager names it
    status: Literal["firing", "resolved"]
    alerts: list[Alert] = Field(max_length=1000)


def firing_drift(body: AlertmanagerBody) -> list[Alert]:
    """The alerts of a notification that ask for a training."""
    return [
        alert
        for alert in body.alerts
        if alert.status == "firing" and alert.labels.get("alertname") in DRIFT_ALERTS
    ]


def reason_of(alerts: Sequence[Alert]) -> str:
    """The reason of a training that alerts start: their names and what they say."""
    parts = []
    for alert in alerts[:_MOST_NAMES]:
        name = alert.labels["alertname"]
        what = alert.annotations.get("summary") or alert.labels.get("feature") or ""
        parts.append(f"{name}: {what}" if what else name)
    if len(alerts) > _MOST_NAMES:
        parts.append(f"and {len(alerts) - _MOST_NAMES} more alerts")
    return recorded("; ".join(parts))


def recorded(reason: str) -> str:
    """A reason as it is recorded: one line without control characters, within the limit."""
    return printable(clean_reason(reason))[:REASON_MAX_CHARACTERS]
