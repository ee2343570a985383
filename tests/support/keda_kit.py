"""ScaledObjects for the autoscaling tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stream_scorer.autoscaling.manifest import (
    Autoscaler,
    Behavior,
    KafkaTrigger,
    Policy,
    ScalingRules,
)

THRESHOLD = 100
QUICK_UP = ScalingRules(0, "Max", (Policy("Percent", 100, 15), Policy("Pods", 4, 15)), 0.1)
SLOW_DOWN = ScalingRules(600, "Max", (Policy("Percent", 50, 120),), 0.1)


def make_autoscaler(low: int = 2, high: int = 12, **changed: Any) -> Autoscaler:
    trigger = KafkaTrigger(lag_threshold=THRESHOLD)
    whole = Autoscaler("scorer", trigger, low, high, behavior=Behavior(QUICK_UP, SLOW_DOWN))
    return replace(whole, **changed)


def make_document(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "scorer"},
        "spec": {
            "scaleTargetRef": {"name": "scorer"},
            "minReplicaCount": 1,
            "triggers": make_trigger(lagThreshold="100"),
            **spec,
        },
    }


def make_trigger(**metadata: Any) -> list[dict[str, Any]]:
    """One trigger; a field that is None is left out."""
    whole = {"bootstrapServers": "kafka:9092", "consumerGroup": "g", "topic": "t", **metadata}
    return [{"type": "kafka", "metadata": {k: v for k, v in whole.items() if v is not None}}]
