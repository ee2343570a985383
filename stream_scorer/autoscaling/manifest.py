"""Parses a ScaledObject for the simulator; unknown fields are errors, none is ignored silently.

Fields, defaults and rules are those of KEDA 2.21 (``apis/keda/v1alpha1/scaledobject_types.go``,
``kafkaMetadata`` in ``pkg/scalers/kafka_scaler.go``) and of Kubernetes 1.36
(``pkg/apis/autoscaling/v2/defaults.go``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from stream_scorer.autoscaling.fields import (
    as_mapping,
    check_names,
    choice,
    fault,
    flag,
    mapping,
    number,
    quantity,
    shown,
    whole,
)
from stream_scorer.errors import UsageError

PolicyType = Literal["Pods", "Percent"]
Select = Literal["Max", "Min", "Disabled"]
FALLBACKS: Final = (
    "static",
    "currentReplicas",
    "currentReplicasIfHigher",
    "currentReplicasIfLower",
)

_IRRELEVANT: Final = (
    "bootstrapServers bootstrapServersFromEnv consumerGroup consumerGroupFromEnv topic "
    "topicFromEnv version sasl tls unsafeSsl saslTokenProvider awsRegion fullMetadata "
    "offsetResetPolicy scaleToZeroOnInvalidOffset"
)
"""Trigger fields for the connection, or that matter only before a group's first commit."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit for one step: a number or a percentage of pods within ``period_seconds``."""

    kind: PolicyType
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """``behavior.scaleUp`` or ``.scaleDown``, with defaults applied.

    If ``stabilization_seconds`` is None, the controller manager's setting applies (300 s).
    """

    stabilization_seconds: int | None
    select: Select
    policies: tuple[Policy, ...]
    tolerance: float


@dataclass(frozen=True, slots=True)
class Behavior:
    """The rules for both directions."""

    up: ScalingRules
    down: ScalingRules


DEFAULT_TOLERANCE: Final = 0.1  # --horizontal-pod-autoscaler-tolerance
DEFAULT_UP: Final = ScalingRules(
    0, "Max", (Policy("Pods", 4, 15), Policy("Percent", 100, 15)), DEFAULT_TOLERANCE
)
DEFAULT_DOWN: Final = ScalingRules(None, "Max", (Policy("Percent", 100, 15),), DEFAULT_TOLERANCE)


@dataclass(frozen=True, slots=True)
class Fallback:
    """The number of pods while the lag cannot be read."""

    failure_threshold: int
    replicas: int
    behavior: str


@dataclass(frozen=True, slots=True)
class KafkaTrigger:
    """The metadata of a ``kafka`` trigger that affects decisions."""

    lag_threshold: int = 10
    activation_lag_threshold: int = 0
    allow_idle_consumers: bool = False
    exclude_persistent_lag: bool = False
    limit_to_partitions_with_lag: bool = False
    ensure_even_distribution: bool = False


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """One ScaledObject with one Kafka trigger; times in seconds."""

    name: str
    trigger: KafkaTrigger
    min_replicas: int = 0
    max_replicas: int = 100
    idle_replicas: int | None = None
    polling_seconds: int = 30
    cooldown_seconds: int = 300
    fallback: Fallback | None = None
    behavior: Behavior | None = None
    notes: tuple[str, ...] = field(default=())
    """Messages for the user about fields that have no effect."""

    @property
    def hpa_min(self) -> int:
        """The HPA's minReplicas: only KEDA scales to 0, the HPA never does."""
        return self.min_replicas or 1


def parse_scaled_object(document: Mapping[str, Any]) -> Autoscaler:
    """Parse a ScaledObject.

    Raises:
        UsageError: a field is unknown, invalid, missing or not simulated; the message names it.
    """
    name = str(mapping(document, "metadata").get("name", "(unnamed)"))
    for note in mapping(document, "metadata", {}).get("annotations") or {}:
        if str(note).startswith("autoscaling.keda.sh/paused"):
            raise UsageError(
                f"{name}: the ScaledObject is paused ({note}), so it makes no decisions"
            )
    spec = mapping(document, "spec")
    check_names(
        spec,
        "spec",
        "scaleTargetRef pollingInterval initialCooldownPeriod cooldownPeriod idleReplicaCount "
        "minReplicaCount maxReplicaCount advanced fallback triggers",
    )
    trigger = _trigger(spec)
    low, high = whole(spec, "spec.minReplicaCount", 0), whole(spec, "spec.maxReplicaCount", 100)
    idle = whole(spec, "spec.idleReplicaCount", None)
    whole(spec, "spec.initialCooldownPeriod", 0)  # matters only after the object was created
    if low > high or high < 1:
        raise fault(spec, "spec.minReplicaCount", f"is {low}, spec.maxReplicaCount {high}")
    if idle is not None and (idle or not low):
        raise fault(
            spec,
            "spec.idleReplicaCount",
            f"is {idle}: only 0 with a minReplicaCount of 1 or more works, because the HPA raises "
            "any other value to minReplicaCount",
        )
    notes = []
    if low >= 1 and idle is None and {"pollingInterval", "cooldownPeriod"} & spec.keys():
        notes.append(
            "pollingInterval and cooldownPeriod have no effect while minReplicaCount is 1 or more"
        )
    return Autoscaler(
        name,
        trigger,
        low,
        high,
        idle,
        whole(spec, "spec.pollingInterval", 30) or 30,
        whole(spec, "spec.cooldownPeriod", 300),
        _fallback(spec),
        _behavior(spec),
        tuple(notes),
    )


def _trigger(spec: Mapping[str, Any]) -> KafkaTrigger:
    triggers = spec.get("triggers")
    if not isinstance(triggers, list) or len(triggers) != 1:
        raise fault(spec, "spec.triggers", "must be a list of one trigger: more are not simulated")
    where = "spec.triggers[0]"
    trigger = as_mapping(spec, where, triggers[0])
    check_names(trigger, where, "type name metadata authenticationRef metricType useCachedMetrics")
    if trigger.get("type") != "kafka":
        raise fault(
            trigger, f"{where}.type", f"is {shown(trigger.get('type'))}; only kafka is simulated"
        )
    if trigger.get("metricType", "AverageValue") != "AverageValue":
        raise fault(trigger, f"{where}.metricType", "must be AverageValue: no other is simulated")
    if trigger.get("useCachedMetrics"):
        raise fault(trigger, f"{where}.useCachedMetrics", "is not simulated")
    return _kafka(mapping(trigger, f"{where}.metadata"), f"{where}.metadata")


def _kafka(metadata: Mapping[str, Any], where: str) -> KafkaTrigger:
    ours = (
        "lagThreshold activationLagThreshold allowIdleConsumers excludePersistentLag "
        "limitToPartitionsWithLag ensureEvenDistributionOfPartitions"
    )
    if metadata.get("partitionLimitation"):
        raise fault(metadata, f"{where}.partitionLimitation", "is not simulated")
    check_names(metadata, where, f"{ours} {_IRRELEVANT} partitionLimitation")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise fault(
                metadata,
                f"{where}.{key}",
                "must be a string (in quotes), as the API server requires",
            )
    _check_connection(metadata, where)
    trigger = KafkaTrigger(
        number(metadata, f"{where}.lagThreshold", 10),
        number(metadata, f"{where}.activationLagThreshold", 0),
        flag(metadata, f"{where}.allowIdleConsumers"),
        flag(metadata, f"{where}.excludePersistentLag"),
        flag(metadata, f"{where}.limitToPartitionsWithLag"),
        flag(metadata, f"{where}.ensureEvenDistributionOfPartitions"),
    )
    if trigger.lag_threshold < 1:
        raise fault(metadata, f"{where}.lagThreshold", "must be 1 or more")
    if trigger.limit_to_partitions_with_lag:
        for other, is_set in (
            ("allowIdleConsumers", trigger.allow_idle_consumers),
            ("ensureEvenDistributionOfPartitions", trigger.ensure_even_distribution),
        ):
            if is_set:
                raise fault(
                    metadata,
                    f"{where}.limitToPartitionsWithLag",
                    f"and {other} exclude each other",
                )
    return trigger


def _check_connection(metadata: Mapping[str, Any], where: str) -> None:
    """Check the fields that decide nothing here, but without which KEDA refuses the trigger."""
    for key in ("bootstrapServers", "consumerGroup"):
        if not metadata.get(key) and not metadata.get(f"{key}FromEnv"):
            raise fault(metadata, f"{where}.{key}", "is missing: KEDA requires it")
    choice(metadata, f"{where}.offsetResetPolicy", "latest", ("latest", "earliest"))
    for key in ("scaleToZeroOnInvalidOffset", "unsafeSsl", "fullMetadata"):
        flag(metadata, f"{where}.{key}")


def _fallback(spec: Mapping[str, Any]) -> Fallback | None:
    if "fallback" not in spec:
        return None
    where = "spec.fallback"
    fallback = mapping(spec, where)
    check_names(fallback, where, "failureThreshold replicas behavior")
    return Fallback(
        whole(fallback, f"{where}.failureThreshold", 0),
        whole(fallback, f"{where}.replicas", 0),
        choice(fallback, f"{where}.behavior", "static", FALLBACKS),
    )


def _behavior(spec: Mapping[str, Any]) -> Behavior | None:
    where = "spec.advanced"
    advanced = mapping(spec, where, {})
    check_names(advanced, where, "horizontalPodAutoscalerConfig restoreToOriginalReplicaCount")
    where = f"{where}.horizontalPodAutoscalerConfig"
    config = mapping(advanced, where, {})
    check_names(config, where, "behavior name")
    if config.get("behavior") is None:
        return None
    where = f"{where}.behavior"
    behavior = mapping(config, where)
    check_names(behavior, where, "scaleUp scaleDown")
    return Behavior(
        _rules(behavior, f"{where}.scaleUp", DEFAULT_UP),
        _rules(behavior, f"{where}.scaleDown", DEFAULT_DOWN),
    )


def _rules(behavior: Mapping[str, Any], where: str, default: ScalingRules) -> ScalingRules:
    """Parse rules; unset fields have the API server's defaults (``copyHPAScalingRules``)."""
    rules = mapping(behavior, where, {})
    check_names(rules, where, "stabilizationWindowSeconds policies selectPolicy tolerance")
    select = choice(rules, f"{where}.selectPolicy", default.select, ("Max", "Min", "Disabled"))
    window = whole(rules, f"{where}.stabilizationWindowSeconds", default.stabilization_seconds)
    if window is not None and window > 3600:
        raise fault(rules, f"{where}.stabilizationWindowSeconds", "must be at most 3600")
    return ScalingRules(
        window,
        cast("Select", select),
        _policies(rules, f"{where}.policies", default),
        quantity(rules, f"{where}.tolerance", default.tolerance),
    )


def _policies(rules: Mapping[str, Any], where: str, default: ScalingRules) -> tuple[Policy, ...]:
    policies = rules.get("policies")
    if policies is None:
        return default.policies
    if not isinstance(policies, list) or not policies:
        raise fault(rules, where, "must be a list of at least one policy")
    return tuple(
        _policy(as_mapping(rules, f"{where}[{i}]", policy), f"{where}[{i}]")
        for i, policy in enumerate(policies)
    )


def _policy(policy: Mapping[str, Any], where: str) -> Policy:
    check_names(policy, where, "type value periodSeconds")
    kind = choice(policy, f"{where}.type", "", ("Pods", "Percent"))
    value = whole(policy, f"{where}.value", 0)
    period = whole(policy, f"{where}.periodSeconds", 0)
    if value < 1:
        raise fault(policy, f"{where}.value", "must be above 0")
    if not 1 <= period <= 1800:
        raise fault(policy, f"{where}.periodSeconds", "must be between 1 and 1800")
    return Policy(cast("PolicyType", kind), value, period)
