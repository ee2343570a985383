"""Parses a ScaledObject for the simulator; unknown fields are errors, none is ignored silently.

Fields, defaults and rules are those of KEDA 2.21 (``apis/keda/v1alpha1/scaledobject_types.go``,
``kafkaMetadata`` in ``pkg/scalers/kafka_scaler.go``) and of Kubernetes 1.36
(``pkg/apis/autoscaling/v2/defaults.go``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from stream_scorer.errors import UsageError

PolicyType = Literal["Pods", "Percent"]
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
    select: Literal["Max", "Min", "Disabled"]
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
        UsageError: a field is unknown, invalid or not simulated; the message names it.
    """
    name = str(_mapping(document, "metadata").get("name", "(unnamed)"))
    for note in _mapping(document, "metadata", {}).get("annotations") or {}:
        if str(note).startswith("autoscaling.keda.sh/paused"):
            raise UsageError(
                f"{name}: the ScaledObject is paused ({note}), so it makes no decisions"
            )
    spec = _mapping(document, "spec")
    _only(
        spec,
        "spec",
        "scaleTargetRef pollingInterval initialCooldownPeriod cooldownPeriod idleReplicaCount "
        "minReplicaCount maxReplicaCount advanced fallback triggers",
    )
    trigger = _trigger(spec)
    low, high = _whole(spec, "spec.minReplicaCount", 0), _whole(spec, "spec.maxReplicaCount", 100)
    idle = _whole(spec, "spec.idleReplicaCount", None)
    if low > high or high < 1:
        raise UsageError(f"spec.minReplicaCount is {low}, spec.maxReplicaCount {high}")
    if idle is not None and (idle or not low):
        raise UsageError(
            f"spec.idleReplicaCount is {idle}: only 0 with a minReplicaCount of 1 or more works, "
            "because the HPA raises any other value to minReplicaCount"
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
        _whole(spec, "spec.pollingInterval", 30) or 30,
        _whole(spec, "spec.cooldownPeriod", 300),
        _fallback(spec),
        _behavior(spec),
        tuple(notes),
    )


def _trigger(spec: Mapping[str, Any]) -> KafkaTrigger:
    triggers = spec.get("triggers")
    if not isinstance(triggers, list) or len(triggers) != 1:
        raise UsageError("spec.triggers must be a list of one trigger: more are not simulated")
    where = "spec.triggers[0]"
    trigger = _as_mapping(triggers[0], where)
    _only(trigger, where, "type name metadata authenticationRef metricType useCachedMetrics")
    if trigger.get("type") != "kafka":
        raise UsageError(f"{where}.type is {trigger.get('type')!r}; only kafka is simulated")
    if trigger.get("metricType", "AverageValue") != "AverageValue":
        raise UsageError(f"{where}.metricType: only AverageValue is simulated")
    if trigger.get("useCachedMetrics"):
        raise UsageError(f"{where}.useCachedMetrics is not simulated")
    metadata = _as_mapping(trigger.get("metadata"), f"{where}.metadata")
    return _kafka(metadata, f"{where}.metadata")


def _kafka(metadata: Mapping[str, Any], where: str) -> KafkaTrigger:
    ours = (
        "lagThreshold activationLagThreshold allowIdleConsumers excludePersistentLag "
        "limitToPartitionsWithLag ensureEvenDistributionOfPartitions"
    )
    if metadata.get("partitionLimitation"):
        raise UsageError(f"{where}.partitionLimitation is not simulated")
    _only(metadata, where, f"{ours} {_IRRELEVANT} partitionLimitation")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise UsageError(
                f"{where}.{key} must be a string (in quotes), as the API server requires"
            )
    trigger = KafkaTrigger(
        _number(metadata, where, "lagThreshold", 10),
        _number(metadata, where, "activationLagThreshold", 0),
        _flag(metadata, where, "allowIdleConsumers"),
        _flag(metadata, where, "excludePersistentLag"),
        _flag(metadata, where, "limitToPartitionsWithLag"),
        _flag(metadata, where, "ensureEvenDistributionOfPartitions"),
    )
    if trigger.lag_threshold < 1:
        raise UsageError(f"{where}.lagThreshold must be 1 or more")
    if trigger.limit_to_partitions_with_lag:
        for other, is_set in (
            ("allowIdleConsumers", trigger.allow_idle_consumers),
            ("ensureEvenDistributionOfPartitions", trigger.ensure_even_distribution),
        ):
            if is_set:
                raise UsageError(
                    f"{where}: limitToPartitionsWithLag and {other} exclude each other"
                )
    return trigger


def _fallback(spec: Mapping[str, Any]) -> Fallback | None:
    if "fallback" not in spec:
        return None
    fallback = _mapping(spec, "fallback")
    _only(fallback, "spec.fallback", "failureThreshold replicas behavior")
    behavior = fallback.get("behavior", "static")
    if behavior not in FALLBACKS:
        raise UsageError(
            f"spec.fallback.behavior {behavior!r} is not one of {', '.join(FALLBACKS)}"
        )
    return Fallback(
        _whole(fallback, "spec.fallback.failureThreshold", 0),
        _whole(fallback, "spec.fallback.replicas", 0),
        behavior,
    )


def _behavior(spec: Mapping[str, Any]) -> Behavior | None:
    advanced = _mapping(spec, "advanced", {})
    _only(advanced, "spec.advanced", "horizontalPodAutoscalerConfig restoreToOriginalReplicaCount")
    config = _mapping(advanced, "horizontalPodAutoscalerConfig", {})
    where = "spec.advanced.horizontalPodAutoscalerConfig"
    _only(config, where, "behavior name")
    if config.get("behavior") is None:
        return None
    behavior = _mapping(config, "behavior")
    _only(behavior, f"{where}.behavior", "scaleUp scaleDown")
    return Behavior(
        _rules(behavior, "scaleUp", DEFAULT_UP), _rules(behavior, "scaleDown", DEFAULT_DOWN)
    )


def _rules(behavior: Mapping[str, Any], name: str, default: ScalingRules) -> ScalingRules:
    """Parse rules; unset fields have the API server's defaults (``copyHPAScalingRules``)."""
    rules = _mapping(behavior, name, {})
    _only(rules, name, "stabilizationWindowSeconds policies selectPolicy tolerance")
    select = rules.get("selectPolicy", default.select)
    if select not in ("Max", "Min", "Disabled"):
        raise UsageError(f"{name}.selectPolicy {select!r} is not Max, Min or Disabled")
    window = _whole(rules, f"{name}.stabilizationWindowSeconds", default.stabilization_seconds)
    if window is not None and window > 3600:
        raise UsageError(f"{name}.stabilizationWindowSeconds must be at most 3600")
    policies = rules.get("policies")
    try:
        tolerance = float(rules.get("tolerance", default.tolerance))
    except (TypeError, ValueError):
        raise UsageError(f"{name}.tolerance {rules['tolerance']!r} is not a number") from None
    return ScalingRules(
        window,
        select,
        default.policies if policies is None else tuple(_policy(p, name) for p in policies),
        tolerance,
    )


def _policy(item: Any, name: str) -> Policy:
    where = f"{name}.policies"
    policy = _as_mapping(item, where)
    _only(policy, where, "type value periodSeconds")
    kind = policy.get("type")
    if kind not in ("Pods", "Percent"):
        raise UsageError(f"{where}: type {kind!r} is not Pods or Percent")
    value = _whole(policy, f"{where}.value", 0)
    period = _whole(policy, f"{where}.periodSeconds", 0)
    if value < 1 or not 1 <= period <= 1800:
        raise UsageError(f"{where}: value must be above 0 and periodSeconds between 1 and 1800")
    return Policy(kind, value, period)


def _only(mapping: Mapping[str, Any], where: str, known: str) -> None:
    if odd := sorted(str(key) for key in mapping.keys() - set(known.split())):
        raise UsageError(f"{where}: unknown to the simulator: {', '.join(odd)}")


def _as_mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a mapping")
    return value


def _mapping(
    parent: Mapping[str, Any], key: str, default: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    value = parent.get(key, default)
    return _as_mapping(value, key)


def _whole(parent: Mapping[str, Any], where: str, default: Any) -> Any:
    """A whole number of 0 or more, or the default, which may be None, if unset."""
    value = parent.get(where.rpartition(".")[2], default)
    if value is default:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{where} is {value!r}, not a whole number of 0 or more")
    return value


def _number(metadata: Mapping[str, Any], where: str, key: str, default: int) -> int:
    text = metadata.get(key, str(default))
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"{where}.{key} is {text!r}, not a whole number of 0 or more")
    return int(text)


def _flag(metadata: Mapping[str, Any], where: str, key: str) -> bool:
    text = metadata.get(key, "false")
    if text not in ("true", "false"):
        raise UsageError(f'{where}.{key} is {text!r}, not "true" or "false"')
    return bool(text == "true")
