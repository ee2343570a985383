"""The alert of drift without a Prometheus: the condition of the rule, and what Alertmanager sends.

The rule compares the last day and the last week. All rows of the demo are younger than an hour, so
both are the same here, and it does not wait the hour that the rule does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

ALERT: Final = "FraudFeatureDrift"
MOST_PSI: Final = 0.25  # of the day, as in the rule
MIN_ROWS: Final = 2_000  # as in the rule


@dataclass(frozen=True, slots=True)
class Moved:
    """A feature that moved further than the alert allows."""

    name: str
    psi: float


def moved_features(report: Mapping[str, Any]) -> list[Moved]:
    """The features for which the alert fires, by the JSON of ``stream-scorer drift``."""
    found = [
        Moved(str(one["name"]), float(one["psi"]))
        for one in report["features"]
        if one["rows"] > MIN_ROWS and one["psi"] > MOST_PSI
    ]
    return sorted(found, key=lambda moved: -moved.psi)


def notification(version: str, moved: Sequence[Moved]) -> dict[str, Any]:
    """The body that Alertmanager sends to a webhook."""
    summary = f"Features of {version} that drifted: {len(moved)}"
    labels = {"alertname": ALERT, "version": version, "severity": "warning"}
    alert = {"status": "firing", "labels": labels, "annotations": {"summary": summary}}
    return {"version": "4", "groupKey": ALERT, "status": "firing", "alerts": [alert]}
